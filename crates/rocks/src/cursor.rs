//! A cursor on a RocksDB iterator.

use crate::damage::Damage;
use kontiki_mvcc::{Cursor, EngineError, Space};
use rocksdb::{DB, DBRawIteratorWithThreadMode};

pub(crate) struct RocksCursor<'a> {
    raw: DBRawIteratorWithThreadMode<'a, DB>,
    damage: &'a Damage,
    space: Space,
    end: Vec<u8>,
}

impl<'a> RocksCursor<'a> {
    pub(crate) fn new(
        raw: DBRawIteratorWithThreadMode<'a, DB>,
        damage: &'a Damage,
        space: Space,
        end: &[u8],
    ) -> Self {
        Self {
            raw,
            damage,
            space,
            end: end.to_vec(),
        }
    }

    fn status(&self) -> Result<(), EngineError> {
        // An iterator that is valid has no error; asking costs a call.
        if self.raw.valid() {
            return Ok(());
        }
        self.raw.status().map_err(self.damage.reading(self.space))
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.raw.seek(key);
        self.status()
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.raw.seek_for_prev(key);
        self.status()
    }

    fn next(&mut self) -> Result<(), EngineError> {
        if self.raw.valid() {
            self.raw.next();
        }
        self.status()
    }

    fn previous(&mut self) -> Result<(), EngineError> {
        if self.raw.valid() {
            self.raw.prev();
        }
        self.status()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        // A backward seek from beyond the bound may land outside of it.
        self.raw
            .item()
            .filter(|(key, _)| self.end.is_empty() || *key < &self.end[..])
    }
}

//! An engine in memory, for tests, simulation and throw-away servers.
//!
//! The content is a persistent map, so a view is a pointer. What a crash would
//! leave is kept beside it, so that tests can crash it.

use super::{Batch, Cursor, Engine, EngineError, EngineSize, Space, View};
use crate::engine::BatchOp;
use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::RwLock;

type Map = OrdMap<Bytes, Bytes>;

#[derive(Clone, Default)]
struct Content {
    spaces: [Map; 4],
    bytes: u64,
}

impl Content {
    fn space(&self, space: Space) -> &Map {
        &self.spaces[usize::from(space.number())]
    }

    fn apply(&mut self, op: BatchOp) {
        match op {
            BatchOp::Put { space, key, value } => {
                // Copied on purpose: a slice would keep the whole log entry alive.
                let (key, value) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
                self.bytes += (key.len() + value.len()) as u64;
                let key_len = key.len();
                if let Some(old) = self.spaces[usize::from(space.number())].insert(key, value) {
                    self.bytes -= (key_len + old.len()) as u64;
                }
            }
            BatchOp::Delete { space, key } => self.remove(space, &key),
            BatchOp::DeleteRange { space, from, to } => {
                if from >= to {
                    return;
                }
                let doomed: Vec<Bytes> = self
                    .space(space)
                    .range(from..to)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in doomed {
                    self.remove(space, &key);
                }
            }
        }
    }

    fn remove(&mut self, space: Space, key: &Bytes) {
        if let Some(old) = self.spaces[usize::from(space.number())].remove(key) {
            self.bytes -= (key.len() + old.len()) as u64;
        }
    }
}

/// An engine in memory.
#[derive(Default)]
pub struct MemoryEngine {
    current: RwLock<Content>,
    durable: RwLock<Content>,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was not flushed, as a crash would.
    pub fn crash(&self) {
        *self.current.write() = self.durable.read().clone();
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut current = self.current.write();
        for op in batch.into_ops() {
            current.apply(op);
        }
        Ok(())
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.current.read().space(space).get(key).cloned())
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.durable.read().space(space).get(key).cloned())
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        Ok(Box::new(MemoryView(self.current.read().clone())))
    }

    fn flush(&self) -> Result<(), EngineError> {
        // Taken first, so that of two flushes at once the later content stays.
        let mut durable = self.durable.write();
        *durable = self.current.read().clone();
        Ok(())
    }

    fn size(&self) -> EngineSize {
        let bytes = self.current.read().bytes;
        EngineSize {
            total_bytes: bytes,
            live_bytes: bytes,
        }
    }
}

struct MemoryView(Content);

impl View for MemoryView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.space(space).get(key).cloned())
    }

    fn cursor(&self, space: Space, end: &[u8]) -> Result<Box<dyn Cursor + '_>, EngineError> {
        Ok(Box::new(MemoryCursor {
            map: self.0.space(space),
            end: end.to_vec(),
            item: None,
        }))
    }
}

struct MemoryCursor<'a> {
    map: &'a Map,
    end: Vec<u8>,
    item: Option<(&'a Bytes, &'a Bytes)>,
}

impl MemoryCursor<'_> {
    fn clip(&mut self) {
        if !self.end.is_empty() && self.item.is_some_and(|(key, _)| key[..] >= self.end[..]) {
            self.item = None;
        }
    }
}

impl Cursor for MemoryCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.item = self.map.get_next(key);
        self.clip();
        Ok(())
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.item = self.map.get_prev(key);
        self.clip();
        Ok(())
    }

    fn next(&mut self) -> Result<(), EngineError> {
        if let Some((key, _)) = self.item {
            let mut after = key.to_vec();
            after.push(0);
            self.item = self.map.get_next(&after[..]);
            self.clip();
        }
        Ok(())
    }

    fn previous(&mut self) -> Result<(), EngineError> {
        if let Some((key, _)) = self.item {
            self.item = self.map.range(..key.clone()).next_back();
        }
        Ok(())
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.item.map(|(key, value)| (&key[..], &value[..]))
    }
}

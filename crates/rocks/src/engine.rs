//! The engine itself.

use crate::cursor::RocksCursor;
use crate::damage::{self, Damage};
use crate::{RocksOptions, format};
use bytes::Bytes;
use kontiki_mvcc::{Batch, BatchOp, Cursor, Engine, EngineError, EngineSize, Space, View};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::{CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_LIVE_DATA_SIZE, TOTAL_SST_FILES_SIZE};
use rocksdb::{
    BottommostLevelCompaction, BoundColumnFamily, CompactOptions, DB, FlushOptions, ReadOptions,
    ReadTier, Snapshot, WriteBatch, WriteOptions,
};
use std::path::Path;
use std::sync::Arc;

/// The column families, in the order of [`Space::number`].
pub(crate) const FAMILIES: [&str; 4] = ["default", "keys", "changes", "current"];

/// The state machine's engine in a directory of its own.
pub struct RocksEngine {
    db: DB,
    damage: Damage,
}

type Family<'a> = Arc<BoundColumnFamily<'a>>;

impl RocksEngine {
    /// Opens or makes the database in `dir`, which is made private to its owner.
    pub fn open(dir: &Path, options: &RocksOptions) -> Result<Self, EngineError> {
        let operation = || format!("opening {}", dir.display());
        format::prepare(dir).map_err(|error| EngineError::new(operation(), with_source(&error)))?;
        let db = DB::open_cf_descriptors(&options.database(), dir, options.families())
            .map_err(|error| damage::failed(operation(), &error))?;
        Ok(Self {
            db,
            damage: Damage::default(),
        })
    }

    /// Makes a consistent copy in `dir`, which must not exist. Files are
    /// shared by hard links where the file system allows it.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let failed =
            |error| EngineError::new(format!("writing a checkpoint to {}", dir.display()), error);
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir))
            .map_err(failed)?;
        format::prepare_copy(dir).map_err(|error| {
            EngineError::new(
                format!("writing a checkpoint to {}", dir.display()),
                with_source(&error),
            )
        })
    }

    fn family(&self, space: Space) -> Family<'_> {
        let name = FAMILIES[usize::from(space.number())];
        self.db
            .cf_handle(name)
            .expect("every column family was opened")
    }

    fn families(&self) -> [Family<'_>; 4] {
        Space::ALL.map(|space| self.family(space))
    }

    fn property(&self, family: &Family<'_>, name: &rocksdb::properties::PropName) -> u64 {
        // A size is only ever shown; not knowing it is no reason to fail.
        self.db
            .property_int_value_cf(family, name)
            .ok()
            .flatten()
            .unwrap_or(0)
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let families = self.families();
        let family = |space: Space| &families[usize::from(space.number())];
        let mut write = WriteBatch::default();
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { space, key, value } => write.put_cf(family(space), key, value),
                BatchOp::Delete { space, key } => write.delete_cf(family(space), key),
                BatchOp::DeleteRange { space, from, to } => {
                    if from < to {
                        write.delete_range_cf(family(space), from, to);
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(write, &options)
            .map_err(|error| self.damage.note("writing a batch".to_owned(), &error))
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self
            .db
            .get_cf(&self.family(space), key)
            .map_err(self.damage.reading(space))?;
        Ok(value.map(Bytes::from))
    }

    fn get_many(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let found = self
            .db
            .batched_multi_get_cf(&self.family(space), keys, false);
        let found = found
            .into_iter()
            .map(|value| Ok(value?.map(|value| Bytes::copy_from_slice(&value))));
        found
            .collect::<Result<_, _>>()
            .map_err(self.damage.reading(space))
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let value = self
            .db
            .get_cf_opt(&self.family(space), key, &options)
            .map_err(self.damage.reading(space))?;
        Ok(value.map(Bytes::from))
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        Ok(Box::new(RocksView {
            engine: self,
            snapshot: self.db.snapshot(),
        }))
    }

    fn flush(&self) -> Result<(), EngineError> {
        let families = self.families();
        let families: Vec<_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&families, &options)
            .map_err(|error| self.damage.note("flushing".to_owned(), &error))
    }

    fn size(&self) -> EngineSize {
        let mut size = EngineSize::default();
        for family in &self.families() {
            let buffered = self.property(family, CUR_SIZE_ALL_MEM_TABLES);
            size.total_bytes += buffered + self.property(family, TOTAL_SST_FILES_SIZE);
            size.live_bytes += buffered + self.property(family, ESTIMATE_LIVE_DATA_SIZE);
        }
        size
    }

    fn damage(&self) -> Option<String> {
        self.damage.found()
    }

    fn rewrite(&self) -> Result<(), EngineError> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in &self.families() {
            let (from, to) = (None::<&[u8]>, None::<&[u8]>);
            self.db.compact_range_cf_opt(family, from, to, &options);
        }
        Ok(())
    }
}

struct RocksView<'a> {
    engine: &'a RocksEngine,
    snapshot: Snapshot<'a>,
}

impl View for RocksView<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self
            .snapshot
            .get_cf(&self.engine.family(space), key)
            .map_err(self.engine.damage.reading(space))?;
        Ok(value.map(Bytes::from))
    }

    fn cursor(&self, space: Space, end: &[u8]) -> Result<Box<dyn Cursor + '_>, EngineError> {
        let mut options = ReadOptions::default();
        if !end.is_empty() {
            options.set_iterate_upper_bound(end);
        }
        let raw = self
            .snapshot
            .raw_iterator_cf_opt(&self.engine.family(space), options);
        Ok(Box::new(RocksCursor::new(
            raw,
            &self.engine.damage,
            space,
            end,
        )))
    }
}

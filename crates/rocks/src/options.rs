//! How RocksDB is set up: bounded, and small while idle.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options,
};

/// Limits of the engine's memory and background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Bytes of all write buffers; when they are full they are flushed.
    pub write_buffers_bytes: usize,
    /// Bytes of the block cache, indexes and filters included.
    pub block_cache_bytes: usize,
    /// Threads that flush and compact.
    pub background_jobs: u32,
    /// Files kept open.
    pub open_files_max: u32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            write_buffers_bytes: 16 << 20,
            block_cache_bytes: 8 << 20,
            background_jobs: 2,
            open_files_max: 512,
        }
    }
}

/// Old info logs that are kept.
const INFO_LOGS: usize = 2;
const INFO_LOG_BYTES: usize = 1 << 20;
const BLOOM_BITS: f64 = 10.0;

impl RocksOptions {
    pub(crate) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // Without a log of its own this is what makes a batch that spans
        // column families survive whole or not at all.
        options.set_atomic_flush(true);
        options.set_db_write_buffer_size(self.write_buffers_bytes);
        options.set_max_background_jobs(
            i32::try_from(self.background_jobs.max(1)).unwrap_or(i32::MAX),
        );
        options.set_max_open_files(i32::try_from(self.open_files_max.max(64)).unwrap_or(i32::MAX));
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(INFO_LOGS);
        options.set_max_log_file_size(INFO_LOG_BYTES);
        options.set_stats_dump_period_sec(0);
        options
    }

    pub(crate) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_lru_cache(self.block_cache_bytes);
        let families = crate::engine::FAMILIES.iter();
        families
            .map(|name| ColumnFamilyDescriptor::new(*name, self.family(&cache)))
            .collect()
    }

    fn family(&self, cache: &Cache) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_bloom_filter(BLOOM_BITS, false);
        blocks.set_format_version(5);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        // What is asked for by key exists, so the last level needs no filter.
        options.set_optimize_filters_for_hits(true);
        options.set_write_buffer_size(self.write_buffers_bytes);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options
    }
}

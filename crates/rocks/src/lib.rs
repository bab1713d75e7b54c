//! The state machine's [`Engine`](kontiki_mvcc::Engine) on RocksDB.
//!
//! Nothing is written to RocksDB's own log: the replicated log replays what a
//! crash loses. So that it loses a suffix of the batches and never a part of
//! one, all column families are flushed together, atomically.
//!
//! **Invariant:** this is the only crate that knows RocksDB.

mod cursor;
mod damage;
mod engine;
mod format;
mod options;

pub use engine::RocksEngine;
pub use format::FormatError;
pub use options::RocksOptions;

//! The replicated state machine of the store: etcd's multi-version key space,
//! its leases and its watches, on an ordered key-value [`Engine`].
//!
//! [`StateMachine`] takes runs of committed log entries and turns each run
//! into one atomic engine write that also holds the caller's own position
//! (its Raft index and membership). Readers work on an immutable published
//! view; watchers are fed straight from apply.
//!
//! **Invariants**
//! - The same entries in the same order give the same content on every
//!   replica. Nothing here reads a clock, a random number or the environment;
//!   [`LocalStore`], the single replica without a log, is the one shell that
//!   owns a clock, and it is injected.
//! - A revision's changes become readable, and reach watchers, all at once.
//! - Apply never waits for a reader, a watcher, a compaction or a snapshot.

mod alarm;
mod auth;
mod check;
mod codec;
mod command;
mod engine;
mod index;
mod layout;
mod lease;
mod local;
mod machine;
mod watch;

pub mod conformance;

pub use alarm::puts;
pub use check::{Limits, MAX_LEASE_TTL_SECONDS, check, check_range, lease_ttl};
pub use command::{Command, DecodeError, decode_batch, encode_batch};
pub use engine::{
    Batch, BatchOp, Cursor, Engine, EngineError, EngineSize, MemoryEngine, SealedEngine, Space,
    View,
};
pub use local::{Clock, LocalStore, TokioClock};
pub use machine::{
    Applied, Background, Dumping, Entry, HashKv, ImportError, Importer, LeaseState, Outcome,
    Revisions, SnapshotError, SnapshotInstaller, SnapshotReader, StateMachine,
};

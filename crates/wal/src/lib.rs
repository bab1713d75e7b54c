//! The replica's own write-ahead log: segmented, checksummed, group-committed.
//!
//! A log holds consecutive *entries* (opaque bytes under an index), a few
//! small *state* slots (Raft's vote lives in one), and the marks of what was
//! truncated at its end and purged at its start. An append returns at once and
//! is readable at once; a writer thread writes everything that waits with one
//! write and one sync, and only then calls the callers back.
//!
//! Disk and clock are injected ([`Disk`], [`Clock`]): the simulator runs the
//! very code that production runs, on a [`SimDisk`] that loses, tears and
//! corrupts.
//!
//! **Invariants**
//! - What was called back with success is there after every restart.
//! - Operations become durable in the order in which they were called; after a
//!   crash the log holds a prefix of them.
//! - A record that was once synced and cannot be read is an error, never a
//!   silent cut; only an unfinished last write is cut.

mod clock;
mod disk;
mod error;
mod format;
mod replay;
mod sealing;
mod segments;
mod sim;
mod view;
mod wal;

pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, FsDisk};
pub use error::WalError;
pub use sim::{SimDisk, SimFault};
pub use wal::{Done, FullDisk, Step, Wal, WalConfig, WalHealth, WalObserver};

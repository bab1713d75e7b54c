//! The ordered key-value engine under the state machine.
//!
//! **Invariants** of an implementation:
//! - [`Engine::write`] is atomic, also over a crash: after a restart either all
//!   of a batch is there or none of it, and if a batch is there, so is every
//!   batch written before it (over all spaces).
//! - Writes need not survive a crash until [`Engine::flush`] returns: the
//!   caller replays them from its log.
//! - A [`View`] sees exactly the batches that were written before it was taken.

mod memory;
mod sealed;

pub use memory::MemoryEngine;
pub use sealed::SealedEngine;

use bytes::Bytes;
use thiserror::Error;

/// The key spaces. Keys of different spaces never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Small singletons: position, revision, leases, cluster data.
    Meta,
    /// Every version of every key, by key and then newest first.
    Keys,
    /// What happened, by revision.
    Changes,
    /// The live keys without their values; read when the index is rebuilt.
    Current,
}

impl Space {
    /// Every space, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Meta, Self::Keys, Self::Changes, Self::Current];

    /// A stable number, used in snapshots.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Meta => 0,
            Self::Keys => 1,
            Self::Changes => 2,
            Self::Current => 3,
        }
    }

    /// The space with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A failure of the engine: a disk, a corrupt file, data of a newer version.
/// The replica cannot go on; retrying is pointless.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("storage engine: {operation}: {reason}")]
pub struct EngineError {
    /// What was being done, to what.
    pub operation: String,
    /// What the engine said.
    pub reason: String,
    /// Whether what once was written does not read back. Anything else may be
    /// over after a restart.
    pub damaged: bool,
}

impl EngineError {
    /// Joins the two halves.
    pub fn new(operation: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            operation: operation.into(),
            reason: reason.to_string(),
            damaged: false,
        }
    }

    /// Like [`Self::new`], for data that does not read back as it was written.
    pub fn damaged(operation: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            damaged: true,
            ..Self::new(operation, reason)
        }
    }
}

/// One change of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum BatchOp {
    Put {
        space: Space,
        key: Bytes,
        value: Bytes,
    },
    Delete {
        space: Space,
        key: Bytes,
    },
    /// Deletes the keys from `from` up to, without, `to`.
    DeleteRange {
        space: Space,
        from: Bytes,
        to: Bytes,
    },
}

/// Changes that become visible together. Later ones win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ops: Vec<BatchOp>,
    size_bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.size_bytes += key.len() + value.len();
        self.ops.push(BatchOp::Put { space, key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        let key = key.into();
        self.size_bytes += key.len();
        self.ops.push(BatchOp::Delete { space, key });
    }

    /// Removes the keys from `from` up to, without, `to`.
    pub fn delete_range(&mut self, space: Space, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        let (from, to) = (from.into(), to.into());
        self.size_bytes += from.len() + to.len();
        self.ops.push(BatchOp::DeleteRange { space, from, to });
    }

    /// The changes, in order.
    #[must_use]
    pub fn into_ops(self) -> Vec<BatchOp> {
        self.ops
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// How much the engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// Bytes taken from the disk (or, in memory, of keys and values).
    pub total_bytes: u64,
    /// Of these, an estimate of what is live.
    pub live_bytes: u64,
}

/// An ordered key-value engine.
pub trait Engine: Send + Sync + 'static {
    /// Applies a batch atomically.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Reads one key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Reads many keys; the answers are in the order of the keys.
    fn get_many(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, EngineError> {
        keys.iter().map(|key| self.get(space, key)).collect()
    }

    /// Reads one key as it would be read after a crash right now.
    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// A consistent view of everything written so far.
    fn view(&self) -> Result<Box<dyn View + '_>, EngineError>;

    /// Makes everything written so far survive a crash.
    fn flush(&self) -> Result<(), EngineError>;

    /// How much the engine holds.
    fn size(&self) -> EngineSize;

    /// What was found damaged since it was opened, by whoever read or wrote it.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Leaves nothing on the disk of what was deleted. May take long.
    fn rewrite(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A frozen state of the engine.
pub trait View {
    /// Reads one key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// A cursor over the keys of a space below `end` (exclusive; empty: no
    /// end). It points nowhere until it is sought.
    fn cursor(&self, space: Space, end: &[u8]) -> Result<Box<dyn Cursor + '_>, EngineError>;
}

/// A position in the ordered keys of a space.
pub trait Cursor {
    /// Moves to the first key at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError>;

    /// Moves to the last key at or before `key`.
    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError>;

    /// Moves to the next key.
    fn next(&mut self) -> Result<(), EngineError>;

    /// Moves to the previous key.
    fn previous(&mut self) -> Result<(), EngineError>;

    /// The key and value it points at; `None` when it left the range.
    fn item(&self) -> Option<(&[u8], &[u8])>;
}

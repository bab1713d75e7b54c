//! What can go wrong with the log.

use std::io;
use thiserror::Error;

/// A failure of the log. Cloneable, because one failed write fails every
/// operation that waited for it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WalError {
    /// The disk has no room. Nothing of the operation was kept; the log stays
    /// readable and accepts operations again once there is room.
    #[error(
        "write-ahead log {file}: no space left on the disk; free some or move the data directory to a larger one"
    )]
    Full {
        /// The segment that could not grow.
        file: String,
    },
    /// The disk failed. After a failed sync nobody knows what is on the disk,
    /// so the log accepts nothing any more.
    #[error(
        "write-ahead log {file}: {operation} failed: {reason}; check the disk, then restart this member: it reads back what is safe"
    )]
    Io {
        /// The file, or the directory.
        file: String,
        /// What was being done.
        operation: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// A record that was once on the disk cannot be read back.
    #[error(
        "write-ahead log {file} is corrupt at offset {offset}: {reason}; this member must not go on with it: move its data directory away and start it again, and it is rebuilt from its peers"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The log is encrypted and cannot be opened. Nothing is wrong with it.
    #[error(
        "write-ahead log {file} is encrypted and cannot be read: {reason}. The data is not damaged; start the member with the key file and the key store it was written with"
    )]
    Sealed {
        /// The segment.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// A newer program wrote this log.
    #[error(
        "write-ahead log {file} has format version {found}, this program reads up to {supported}; run the version that wrote it, or a newer one"
    )]
    NewerVersion {
        /// The segment.
        file: String,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// An older program wrote this log.
    #[error(
        "write-ahead log {file} has format version {found}, this program reads version {supported} only; move the member's data directory away and start it again: it is rebuilt from its peers (a whole cluster is moved over by a snapshot that the program which wrote it saves)"
    )]
    OlderVersion {
        /// The segment.
        file: String,
        /// Its version.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// The caller left a hole between the log's end and its entries.
    #[error("append at index {index} would leave a hole: the log's next index is {next}")]
    Hole {
        /// Where the caller wanted to append.
        index: u64,
        /// Where the log goes on.
        next: u64,
    },
    /// The entry was purged or does not exist yet.
    #[error("entry {index} is not in the log, which holds {first} up to, without, {next}")]
    Missing {
        /// The entry.
        index: u64,
        /// The first index that is held.
        first: u64,
        /// One after the last index that is held.
        next: u64,
    },
    /// The log was closed.
    #[error("the write-ahead log is closed")]
    Closed,
}

impl WalError {
    pub(crate) fn io(file: impl Into<String>, operation: &'static str, error: &io::Error) -> Self {
        let file = file.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Io {
                file,
                operation,
                reason: error.to_string(),
            },
        }
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        let kind = match &error {
            WalError::Full { .. } => io::ErrorKind::StorageFull,
            WalError::Corrupt { .. }
            | WalError::Sealed { .. }
            | WalError::NewerVersion { .. }
            | WalError::OlderVersion { .. } => io::ErrorKind::InvalidData,
            WalError::Hole { .. } => io::ErrorKind::InvalidInput,
            WalError::Missing { .. } => io::ErrorKind::NotFound,
            WalError::Closed => io::ErrorKind::BrokenPipe,
            WalError::Io { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

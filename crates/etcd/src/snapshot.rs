//! etcd's snapshot files: a bbolt database with etcd's buckets, then the
//! SHA-256 of it.
//!
//! What is written here, etcd's own tools accept; what etcd wrote, is read
//! here. So there is a way in and a way back.

mod read;
mod write;

pub use read::{Head, SnapshotFile, SnapshotStatus};
pub use write::{save, write};

use thiserror::Error;

/// etcd's buckets.
pub(crate) mod bucket {
    pub(crate) const KEY: &[u8] = b"key";
    pub(crate) const META: &[u8] = b"meta";
    pub(crate) const LEASE: &[u8] = b"lease";
    pub(crate) const ALARM: &[u8] = b"alarm";
    pub(crate) const CLUSTER: &[u8] = b"cluster";
    pub(crate) const MEMBERS: &[u8] = b"members";
    pub(crate) const MEMBERS_REMOVED: &[u8] = b"members_removed";
    pub(crate) const AUTH: &[u8] = b"auth";
    pub(crate) const USERS: &[u8] = b"authUsers";
    pub(crate) const ROLES: &[u8] = b"authRoles";
}

/// Keys of the buckets with few items.
pub(crate) mod name {
    pub(crate) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    pub(crate) const TERM: &[u8] = b"term";
    pub(crate) const SCHEDULED: &[u8] = b"scheduledCompactRev";
    pub(crate) const FINISHED: &[u8] = b"finishedCompactRev";
    pub(crate) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
    pub(crate) const AUTH_ENABLED: &[u8] = b"authEnabled";
    pub(crate) const AUTH_REVISION: &[u8] = b"authRevision";
}

/// The version whose layout is written: the oldest that etcd's tools still take.
pub(crate) const LAYOUT_VERSION: &str = "3.4.0";

/// Why a snapshot file cannot be written or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The disk.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// The database in it.
    #[error(transparent)]
    Database(#[from] kontiki_bolt::Error),
    /// The store stopped while it was read.
    #[error("the store could not be read to its end: {0}")]
    Store(#[from] kontiki_store::StoreError),
    /// The checksum.
    #[error("the snapshot's content does not match its checksum; it is damaged")]
    Checksum,
    /// There is no checksum: it is not from `snapshot save`.
    #[error(
        "the snapshot has no checksum; if it is a copy of etcd's own database file, ask for it to be taken without"
    )]
    NoChecksum,
    /// Something in it is not what etcd writes.
    #[error("the snapshot's {0}")]
    Content(String),
}

/// A revision as a key of the `key` bucket.
pub(crate) fn revision_key(revision: i64, number: u32, deleted: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&revision.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&u64::from(number).to_be_bytes());
    if deleted {
        key.push(b't');
    }
    key
}

/// Revision, number and whether it is a deletion.
pub(crate) fn parse_revision_key(key: &[u8]) -> Option<(i64, u32, bool)> {
    let (revision, rest) = key.split_first_chunk::<8>()?;
    let (number, mark) = rest.strip_prefix(b"_")?.split_first_chunk::<8>()?;
    let deleted = match mark {
        [] => false,
        b"t" => true,
        _ => return None,
    };
    let number = u32::try_from(u64::from_be_bytes(*number)).ok()?;
    Some((i64::from_be_bytes(*revision), number, deleted))
}

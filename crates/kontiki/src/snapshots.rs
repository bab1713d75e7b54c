//! Snapshot files: read into an engine, taken by schedule, and tried.

mod schedule;

pub use schedule::{Schedule, SnapshotMetrics, keep};

use anyhow::{Context, Result};
use bytes::Bytes;
use kontiki_etcd::snapshot::{SnapshotError, SnapshotFile, SnapshotStatus};
use kontiki_mvcc::{Engine, ImportError, Importer, Revisions};
use std::sync::Arc;

/// How revisions continue in what is made of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Continuation {
    /// Added to the newest revision.
    pub bump: u64,
    /// Whether old revisions stay readable.
    pub keep_history: bool,
}

/// Why a restore stopped.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// Reads a snapshot into an empty engine, as of `position`; answers the newest
/// revision there. `each` is called for every key and lease.
pub fn import(
    file: &SnapshotFile,
    status: &SnapshotStatus,
    engine: Arc<dyn Engine>,
    continuation: Continuation,
    position: Bytes,
    mut each: impl FnMut(),
) -> Result<i64> {
    let head = file.head()?;
    let revisions = Revisions {
        compact_revision: head.compact_revision,
        revision: status.revision,
        bump: i64::try_from(continuation.bump).context("the bump is too large")?,
        mark_compacted: !continuation.keep_history,
    };
    let mut importer = Importer::new(engine, revisions)?;
    let mut auth = head.auth;
    if auth.enabled {
        // The same on every member that is restored from this file, and known
        // to nobody who does not have it.
        auth.secret = file.digest().to_vec().into();
    }
    importer.auth(auth);
    file.for_each(|item| {
        each();
        importer.item(item).map_err(Failed::from)
    })?;
    Ok(importer.finish(position)?)
}

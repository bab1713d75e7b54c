//! What travels as a snapshot's content inside this process.

use kontiki_mvcc::{SnapshotInstaller, SnapshotReader};

/// A snapshot's content. The state machine itself is the snapshot: building
/// one makes it durable, sending one reads it as it is.
pub(crate) enum SnapshotContent {
    /// Built here; only its position matters.
    Local,
    /// To be sent to a peer.
    Outgoing(SnapshotReader),
    /// Received in full and checked, ready to be switched to.
    Incoming(Box<SnapshotInstaller>),
}

//! Watches: what was written, in order, from a revision on.

use crate::{KeyRange, KeyValue, Revision};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key was created or changed.
    Put,
    /// The key was deleted, by a client or by the end of its lease.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after the change; for a deletion just the key and the revision.
    pub kv: KeyValue,
    /// The key before the change, unless compacted, not asked for, or absent.
    pub prev_kv: Option<KeyValue>,
}

/// Every event of one revision that a watcher asked for. Never split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The revision at which they happened.
    pub revision: Revision,
    /// The events, in the order of the transaction.
    pub events: Vec<Event>,
}

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub range: KeyRange,
    /// From this revision on (inclusive); 0: from the next write.
    pub start_revision: Revision,
    /// Fill `prev_kv`.
    pub prev_kv: bool,
    /// How many items may wait before the watcher counts as slow; 0: the store's default.
    pub buffer: usize,
}

/// One item of a watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes of one revision.
    Events(Arc<EventBatch>),
    /// Everything up to this revision has been delivered. Sent when a watcher
    /// has caught up and asked for it through [`WatchStream::request_progress`].
    Progress(Revision),
    /// The watch cannot go on: its next revision was compacted away. Last item.
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
}

/// The receiving side of a watch. Dropping it cancels the watch.
pub struct WatchStream {
    /// The store's revision when the watch was opened.
    pub opened_at: Revision,
    items: mpsc::Receiver<WatchItem>,
    progress: mpsc::Sender<()>,
}

impl WatchStream {
    /// Joins the two ends; for implementations of [`crate::Store`].
    #[must_use]
    pub fn new(
        opened_at: Revision,
        items: mpsc::Receiver<WatchItem>,
        progress: mpsc::Sender<()>,
    ) -> Self {
        Self {
            opened_at,
            items,
            progress,
        }
    }

    /// The next item; `None` when the store has stopped.
    pub async fn next(&mut self) -> Option<WatchItem> {
        self.items.recv().await
    }

    /// The next item if one is waiting.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        self.items.try_recv().ok()
    }

    /// Asks for a [`WatchItem::Progress`] as soon as the watch has caught up.
    /// Several requests before the answer count as one.
    pub fn request_progress(&self) {
        // A full channel means that a request is already waiting.
        let _ = self.progress.try_send(());
    }
}

//! Watches: who is interested in what, feeding them from apply, and catching
//! up those that are behind.
//!
//! A watcher is *synced* while everything of interest up to the hub's revision
//! is in its buffer. Apply feeds synced watchers and only them; one whose
//! buffer is full becomes unsynced at the revision that did not fit, and its
//! [`Session`] reads on from there in the engine's history. It becomes synced
//! again under the hub's lock, when nothing was applied beyond what it read:
//! so there is no gap and no repetition.

mod matcher;
mod session;

pub(crate) use session::Session;

use crate::machine::Change;
use kontiki_store::{
    Event, EventBatch, KeyRange, KeyValue, Revision, WatchItem, WatchRequest, WatchStream,
};
use matcher::{GroupId, Matcher};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// Items that wait for a watcher that did not ask for another number.
const BUFFER: usize = 1024;
/// More would make a watcher's memory unbounded in practice.
const BUFFER_MAX: usize = 1 << 16;

pub(crate) type WatcherId = u64;

/// What a watcher wants of history.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) range: KeyRange,
    pub(crate) prev_kv: bool,
}

/// The changes of one run of entries.
pub(crate) struct Feed<'a> {
    pub(crate) changes: &'a [Change],
    /// What was there before each change, if a watcher wanted to know when the run was applied.
    pub(crate) previous: Option<&'a [Option<KeyValue>]>,
    /// The revision after the run.
    pub(crate) revision: Revision,
}

struct Watcher {
    items: mpsc::Sender<WatchItem>,
    group: GroupId,
    prev_kv: bool,
    synced: bool,
    /// Nothing before this revision is sent by apply; for an unsynced watcher
    /// where its history begins.
    next: Revision,
    /// Up to here it was served from history, which may be ahead of the feed.
    caught_up_to: Revision,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Registry {
    revision: Revision,
    last_id: WatcherId,
    watchers: BTreeMap<WatcherId, Watcher>,
    matcher: Matcher,
}

/// All watchers of a replica.
pub(crate) struct Hub {
    registry: Mutex<Registry>,
    wanting_previous: AtomicUsize,
}

impl Hub {
    pub(crate) fn new(revision: Revision) -> Self {
        let registry = Registry {
            revision,
            ..Registry::default()
        };
        Self {
            registry: Mutex::new(registry),
            wanting_previous: AtomicUsize::new(0),
        }
    }

    /// Whether some watcher wants to see what was there before.
    pub(crate) fn wants_previous(&self) -> bool {
        self.wanting_previous.load(Ordering::Acquire) > 0
    }

    pub(crate) fn open(&self, request: WatchRequest) -> (WatchStream, Session) {
        let buffer = if request.buffer == 0 {
            BUFFER
        } else {
            request.buffer.min(BUFFER_MAX)
        };
        let (items, receiver) = mpsc::channel(buffer);
        // One waiting request stands for all.
        let (ask, asked) = mpsc::channel(1);
        let wake = Arc::new(Notify::new());
        if request.prev_kv {
            self.wanting_previous.fetch_add(1, Ordering::AcqRel);
        }
        let mut registry = self.registry.lock();
        registry.last_id += 1;
        let (id, opened_at) = (registry.last_id, registry.revision);
        let synced = request.start_revision == 0 || request.start_revision > opened_at;
        let next = if request.start_revision == 0 {
            opened_at + 1
        } else {
            request.start_revision
        };
        let group = registry.matcher.insert(&request.range, id);
        let watcher = Watcher {
            items: items.clone(),
            group,
            prev_kv: request.prev_kv,
            synced,
            next,
            caught_up_to: 0,
            wake: wake.clone(),
        };
        registry.watchers.insert(id, watcher);
        drop(registry);
        let interest = Interest {
            range: request.range,
            prev_kv: request.prev_kv,
        };
        if !synced {
            wake.notify_one();
        }
        let session = Session::new(id, interest, items, asked, wake);
        (WatchStream::new(opened_at, receiver, ask), session)
    }

    pub(crate) fn remove(&self, id: WatcherId) {
        let mut registry = self.registry.lock();
        if let Some(watcher) = registry.watchers.remove(&id) {
            registry.matcher.remove(watcher.group, id);
            if watcher.prev_kv {
                self.wanting_previous.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Hands a run of changes to everybody concerned. Never waits for any of them.
    pub(crate) fn feed(&self, feed: &Feed<'_>) {
        let mut registry = self.registry.lock();
        registry.revision = feed.revision;
        if registry.watchers.is_empty() {
            return;
        }
        let mut from = 0;
        while let Some(first) = feed.changes.get(from) {
            let revision = first.kv.mod_revision;
            let len =
                feed.changes[from..].partition_point(|change| change.kv.mod_revision == revision);
            let previous = feed.previous.map(|previous| &previous[from..from + len]);
            registry.feed_revision(revision, &feed.changes[from..from + len], previous);
            from += len;
        }
    }

    /// The content was replaced: everybody continues from the history of the new one.
    pub(crate) fn reset(&self, revision: Revision) {
        let mut registry = self.registry.lock();
        let old = std::mem::replace(&mut registry.revision, revision);
        for watcher in registry
            .watchers
            .values_mut()
            .filter(|watcher| watcher.synced)
        {
            let next = watcher.next.max(old + 1);
            // One that waits for the future has nothing to catch up with.
            if next <= revision {
                watcher.lose_sync(next);
            }
        }
    }

    /// Where an unsynced watcher has to read on; `None` if it is synced or gone.
    fn unsynced_at(&self, id: WatcherId) -> Option<Revision> {
        let registry = self.registry.lock();
        registry
            .watchers
            .get(&id)
            .filter(|watcher| !watcher.synced)
            .map(|watcher| watcher.next)
    }

    /// Notes that everything before `next` was sent; the watcher is synced if that is all.
    fn caught_up(&self, id: WatcherId, next: Revision) -> bool {
        let mut registry = self.registry.lock();
        let revision = registry.revision;
        let Some(watcher) = registry.watchers.get_mut(&id) else {
            return true;
        };
        watcher.next = next;
        watcher.caught_up_to = next - 1;
        watcher.synced = next > revision;
        watcher.synced
    }

    /// Answers a progress request if the watcher is synced.
    fn answer_progress(&self, id: WatcherId, permit: mpsc::Permit<'_, WatchItem>) -> bool {
        let registry = self.registry.lock();
        match registry.watchers.get(&id) {
            Some(watcher) if watcher.synced => {
                permit.send(WatchItem::Progress(
                    registry.revision.max(watcher.caught_up_to),
                ));
            }
            Some(_) => return false,
            None => {}
        }
        true
    }
}

impl Watcher {
    fn lose_sync(&mut self, next: Revision) {
        self.synced = false;
        self.next = next;
        self.wake.notify_one();
    }

    fn send(&mut self, batch: &Arc<EventBatch>) {
        match self.items.try_send(WatchItem::Events(batch.clone())) {
            // A closed one is removed by its session.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.lose_sync(batch.revision),
        }
    }
}

impl Registry {
    fn feed_revision(
        &mut self,
        revision: Revision,
        changes: &[Change],
        previous: Option<&[Option<KeyValue>]>,
    ) {
        // In an order that repeats, as everything here: a simulation relies on it.
        let mut matched: BTreeMap<GroupId, Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            self.matcher.each(&change.kv.key, |group| {
                matched.entry(group).or_default().push(at)
            });
        }
        for (group, at) in matched {
            let batch = |previous: Option<&[Option<KeyValue>]>| {
                let events = at.iter().map(|at| {
                    let change = &changes[*at];
                    let prev_kv = previous.and_then(|previous| previous[*at].clone());
                    Event {
                        kind: change.kind,
                        kv: change.kv.clone(),
                        prev_kv,
                    }
                });
                Arc::new(EventBatch {
                    revision,
                    events: events.collect(),
                })
            };
            let (mut bare, mut full) = (None, None);
            for id in self.matcher.members(group) {
                let Some(watcher) = self.watchers.get_mut(id) else {
                    continue;
                };
                if !watcher.synced || revision < watcher.next {
                    continue;
                }
                if !watcher.prev_kv {
                    watcher.send(bare.get_or_insert_with(|| batch(None)));
                } else if previous.is_some() {
                    watcher.send(full.get_or_insert_with(|| batch(previous)));
                } else {
                    // It came after the run was applied: it reads this from history.
                    watcher.lose_sync(revision);
                }
            }
        }
    }
}

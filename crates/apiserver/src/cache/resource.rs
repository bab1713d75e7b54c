//! One resource in the cache: its map, its window of events, its watchers.

use super::CacheLimits;
use super::entry::{CacheEvent, CachedObject};
use imbl::OrdMap;
use kontiki_store::{EventKind, KeyValue, Revision};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The objects of a resource by their key below its prefix.
pub type Objects = OrdMap<Arc<str>, Arc<CachedObject>>;

/// The objects of a resource at one point in time.
#[derive(Clone)]
pub struct Snapshot {
    /// The objects.
    pub objects: Objects,
}

impl Snapshot {
    /// The objects whose key starts with `scope`, from `start` on.
    pub fn range<'a>(
        &'a self,
        scope: &'a str,
        start: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<CachedObject>)> {
        let from: Arc<str> = Arc::from(if start > scope { start } else { scope });
        self.objects
            .range(from..)
            .take_while(move |(key, _)| key.starts_with(scope))
    }
}

/// A watch on a resource. Dropping it ends the watch.
pub struct Subscription {
    /// What happened between the start and now.
    pub replay: Vec<Arc<CacheEvent>>,
    /// What happens from now on; ends if the watcher is too slow.
    pub events: mpsc::Receiver<Arc<CacheEvent>>,
}

struct Watcher {
    scope: Arc<str>,
    exact: bool,
    events: mpsc::Sender<Arc<CacheEvent>>,
}

impl Watcher {
    fn wants(&self, key: &str) -> bool {
        if self.exact {
            key == &*self.scope
        } else {
            key.starts_with(&*self.scope)
        }
    }
}

#[derive(Default)]
struct State {
    objects: Objects,
    history: VecDeque<Arc<CacheEvent>>,
    /// The window holds every event after this revision.
    history_after: Revision,
    watchers: Vec<Watcher>,
}

/// One resource.
pub struct ResourceCache {
    prefix: String,
    limits: CacheLimits,
    state: Mutex<State>,
}

/// The revision asked for is before the window of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision that the window can serve.
    pub oldest: Revision,
}

impl ResourceCache {
    pub(super) fn new(prefix: String, limits: CacheLimits) -> Self {
        Self {
            prefix,
            limits,
            state: Mutex::default(),
        }
    }

    /// The key prefix, with a slash at the end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object by its key below the prefix.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<CachedObject>> {
        self.state.lock().objects.get(key).cloned()
    }

    /// All objects as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            objects: self.state.lock().objects.clone(),
        }
    }

    /// All objects as they were at `revision`, undone from the present.
    ///
    /// # Errors
    /// If the window does not reach back that far.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, TooOld> {
        let state = self.state.lock();
        if revision < state.history_after {
            return Err(TooOld {
                oldest: state.history_after,
            });
        }
        let mut objects = state.objects.clone();
        let undone: Vec<_> = state
            .history
            .iter()
            .rev()
            .take_while(|event| event.revision > revision)
            .cloned()
            .collect();
        drop(state);
        for event in undone {
            match &event.previous {
                Some(previous) => objects.insert(event.key.clone(), previous.clone()),
                None => objects.remove(&event.key),
            };
        }
        Ok(Snapshot { objects })
    }

    /// Watches the keys that start with `scope` (or just that key) for what
    /// happens after `revision`.
    ///
    /// # Errors
    /// If the window does not reach back that far.
    pub fn subscribe(
        &self,
        scope: &str,
        exact: bool,
        revision: Revision,
    ) -> Result<Subscription, TooOld> {
        let (events, receiver) = mpsc::channel(self.limits.watcher_events_max);
        let watcher = Watcher {
            scope: Arc::from(scope),
            exact,
            events,
        };
        let mut state = self.state.lock();
        if revision < state.history_after {
            return Err(TooOld {
                oldest: state.history_after,
            });
        }
        let first = state
            .history
            .partition_point(|event| event.revision <= revision);
        let replay = state.history.range(first..);
        let wanted = replay.filter(|event| watcher.wants(&event.key));
        let replay = wanted.cloned().collect();
        state.watchers.retain(|other| !other.events.is_closed());
        state.watchers.push(watcher);
        Ok(Subscription {
            replay,
            events: receiver,
        })
    }

    /// Takes one change in. `key` is below the prefix.
    pub(super) fn apply(&self, kind: EventKind, key: &str, kv: &KeyValue) {
        let mut state = self.state.lock();
        // After a reload the feed may tell a version that is known already.
        let known = state.objects.get(key).map(|object| object.mod_revision);
        let event = match (kind, known) {
            (_, Some(known)) if known >= kv.mod_revision => return,
            (EventKind::Delete, None) => return,
            (EventKind::Put, _) => {
                let key: Arc<str> = Arc::from(key);
                let object = Arc::new(CachedObject::new(kv));
                let previous = state.objects.insert(key.clone(), object.clone());
                CacheEvent {
                    kind,
                    revision: kv.mod_revision,
                    key,
                    object,
                    previous,
                }
            }
            (EventKind::Delete, Some(_)) => match state.objects.remove_with_key(key) {
                Some((key, previous)) => CacheEvent::deletion(key, previous, kv.mod_revision),
                None => return,
            },
        };
        self.publish(&mut state, Arc::new(event));
    }

    /// Ends every watch: the resource is no more.
    pub(super) fn end_watches(&self) {
        self.state.lock().watchers.clear();
    }

    fn publish(&self, state: &mut State, event: Arc<CacheEvent>) {
        state.watchers.retain(|watcher| {
            // A full queue ends the watcher: it lists again or resumes from its revision.
            !watcher.wants(&event.key) || watcher.events.try_send(event.clone()).is_ok()
        });
        state.history.push_back(event);
        while state.history.len() > self.limits.history_events_max
            && let Some(dropped) = state.history.pop_front()
        {
            state.history_after = dropped.revision;
        }
    }

    /// Replaces everything by what the store holds at `revision`. What watchers
    /// missed is told to them; a first fill makes no events.
    pub(super) fn reset(&self, objects: Objects, revision: Revision, first: bool) {
        let mut state = self.state.lock();
        let old = std::mem::replace(&mut state.objects, objects);
        state.history.clear();
        state.history_after = revision;
        if first {
            return;
        }
        // Revisions between the two states are unknown: whoever watches must
        // look again, which ending the watch makes them do.
        drop(old);
        state.watchers.clear();
    }
}

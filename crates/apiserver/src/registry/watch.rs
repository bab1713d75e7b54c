//! Watches: what happened after a revision, and then what happens.

use super::Registry;
use super::context::Target;
use super::list::parse_get_version;
use super::selection::{Selection, key, scope};
use crate::cache::{CacheEvent, CachedObject, Snapshot, WatchCache};
use crate::{codec, error};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, SharedObject, Status, Value};
use kontiki_store::{Event, EventKind, KeyRange, Revision, WatchItem, WatchStream};
use rand::Rng as _;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often an idle watch is told how far it is.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say; doubled at most, by chance.
const TIMEOUT: Duration = Duration::from_secs(1800);
/// The annotation of the bookmark after the initial events.
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What a watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Label selector.
    pub label_selector: String,
    /// Field selector.
    pub field_selector: String,
    /// After which version; empty and `0`: the present state first.
    pub resource_version: String,
    /// Tell the present state, then a bookmark that says so.
    pub send_initial_events: bool,
    /// Tell bookmarks.
    pub bookmarks: bool,
    /// How long it lasts; 0 for the server's choice.
    pub timeout_seconds: u64,
}

/// The word of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum EventForm {
    Added,
    Modified,
    Deleted,
    Bookmark,
}

impl EventForm {
    /// On the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct WatchedEvent {
    /// What happened.
    pub form: EventForm,
    /// To what, in the form that the kind serves.
    pub object: SharedObject,
}

enum Source {
    Cache(mpsc::Receiver<Arc<CacheEvent>>),
    /// From before the cache's window: the store's own history.
    Store(WatchStream),
}

/// A watch.
pub struct Watching {
    registry: Arc<Registry>,
    cache: Arc<WatchCache>,
    kind: Arc<Kind>,
    selection: Selection,
    scope: String,
    exact: bool,
    prefix: String,
    asked: Revision,
    queue: VecDeque<WatchedEvent>,
    source: Source,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Everything up to here has been told.
    told: Revision,
    ended: bool,
}

impl Registry {
    /// Opens a watch.
    ///
    /// # Errors
    /// 400 or 500 for malformed parameters, 504 for a version that does not
    /// come, or what the store says. A past that is gone is the first event.
    pub async fn watch(
        self: &Arc<Self>,
        target: &Target,
        request: &WatchRequest,
    ) -> Result<Watching, Status> {
        let kind = &target.kind;
        let storage = kind.storage.as_ref().ok_or_else(Status::no_such_path)?;
        let mut selection =
            Selection::parse(kind, &request.label_selector, &request.field_selector)?;
        if !target.name.is_empty() {
            let term = ("metadata.name".to_owned(), true, target.name.clone());
            selection.fields.terms.push(term);
        }
        let only = selection.only_name().map(str::to_owned);
        let exact = only.is_some() && (!kind.namespaced || !target.namespace.is_empty());
        let scope = match only {
            Some(name) if exact => key(&target.namespace, &name),
            _ => scope(&target.namespace),
        };
        let asked = match &*request.resource_version {
            "" => {
                self.fresh().await?;
                0
            }
            text => parse_get_version(text)?,
        };
        self.not_older_than(asked).await?;
        let resource = self.cache.resource(&storage.key_prefix);
        let wants_state = request.send_initial_events || asked == 0;
        let (after, snapshot) = if wants_state {
            let (snapshot, revision) = self.present(target).await?;
            (revision, Some(snapshot))
        } else {
            (asked, None)
        };
        let (replay, source) = match resource.subscribe(&scope, exact, after) {
            Ok(subscription) => (subscription.replay, Source::Cache(subscription.events)),
            Err(_) => (
                Vec::new(),
                self.past_events(&storage.key_prefix, after).await?,
            ),
        };
        let now = Instant::now();
        let mut watching = Watching {
            registry: self.clone(),
            cache: self.cache.clone(),
            kind: kind.clone(),
            selection,
            scope,
            exact,
            prefix: resource.prefix().to_owned(),
            asked: after,
            queue: VecDeque::new(),
            source,
            bookmarks: request.bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            deadline: now + lifetime(request.timeout_seconds),
            told: after,
            ended: false,
        };
        if let Some(snapshot) = snapshot {
            let entries = snapshot.objects.values();
            self.convert_entries(kind, entries).await?;
            watching.tell_state(&snapshot);
            // Whoever asks for bookmarks and no version is told the end of the
            // present state too, as upstream does for older clients.
            let is_told = request.send_initial_events || request.resource_version.is_empty();
            if is_told && request.bookmarks {
                let bookmark = watching.bookmark(after, true);
                watching.queue.push_back(bookmark);
            }
        }
        for event in replay {
            watching.convert(&event).await;
            watching.tell(&event);
        }
        Ok(watching)
    }

    async fn past_events(&self, key_prefix: &str, after: Revision) -> Result<Source, Status> {
        let request = kontiki_store::WatchRequest {
            range: KeyRange::prefix(format!("{key_prefix}/")),
            start_revision: after + 1,
            prev_kv: true,
            buffer: 0,
        };
        let stream = self.store.watch(request).await;
        let stream = stream.map_err(|error| match error {
            kontiki_store::StoreError::Compacted { compact_revision } => {
                error::too_old_resource_version(after, compact_revision)
            }
            other => error::from_store(&other),
        })?;
        Ok(Source::Store(stream))
    }
}

/// Watches without a wish end at different times, so that they do not all come back at once.
fn lifetime(seconds: u64) -> Duration {
    if seconds > 0 {
        return Duration::from_secs(seconds);
    }
    TIMEOUT + TIMEOUT.mul_f64(rand::rng().random::<f64>())
}

impl Watching {
    /// The kind that is watched.
    #[must_use]
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The next event; `None` at the end. After an error comes the end.
    pub async fn next(&mut self) -> Option<Result<WatchedEvent, Status>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            let wake = if self.bookmarks {
                self.deadline.min(self.next_bookmark)
            } else {
                self.deadline
            };
            let told = tokio::select! {
                biased;
                told = receive(&mut self.source) => told,
                () = tokio::time::sleep_until(wake) => {
                    self.on_time();
                    continue;
                }
            };
            match told {
                Some(Told::One(event)) => {
                    self.convert(&event).await;
                    self.tell(&event);
                }
                Some(Told::Batch(events)) => self.tell_history(&events),
                Some(Told::Nothing) => {}
                Some(Told::Gone(oldest)) => {
                    self.ended = true;
                    return Some(Err(error::too_old_resource_version(self.asked, oldest)));
                }
                None => self.ended = true,
            }
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.next_bookmark = now + BOOKMARK_INTERVAL;
        self.ended = now >= self.deadline;
        if !self.bookmarks {
            return;
        }
        // Events reach the queue before their revision is published: what is
        // read here first is fully told once the queue has been emptied.
        let revision = self.cache.revision();
        if let Source::Cache(events) = &mut self.source {
            let mut waiting = Vec::new();
            while let Ok(event) = events.try_recv() {
                waiting.push(event);
            }
            for event in waiting {
                self.tell(&event);
            }
            self.told = self.told.max(revision);
        }
        let bookmark = self.bookmark(self.told, false);
        self.queue.push_back(bookmark);
    }

    /// Asks the webhook how an event's objects look, where only it can say.
    async fn convert(&self, event: &CacheEvent) {
        let objects = event.previous.iter().chain([&event.object]);
        if let Err(status) = self.registry.convert_entries(&self.kind, objects).await {
            tracing::warn!(message = %status.message, "an event was not converted");
        }
    }

    fn bookmark(&self, revision: Revision, initial_events_end: bool) -> WatchedEvent {
        let mut metadata = Tree::new();
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        if initial_events_end {
            let mut annotations = Tree::new();
            annotations.insert(INITIAL_EVENTS_END.to_owned(), "true".into());
            metadata.insert("annotations".to_owned(), annotations.into());
        }
        let mut tree = Tree::new();
        tree.insert("apiVersion".to_owned(), self.kind.api_version().into());
        tree.insert("kind".to_owned(), self.kind.kind.clone().into());
        tree.insert("metadata".to_owned(), Value::Object(metadata));
        WatchedEvent {
            form: EventForm::Bookmark,
            object: Arc::new(Object::new(tree)),
        }
    }

    fn in_scope(&self, key: &str) -> bool {
        if self.exact {
            key == self.scope
        } else {
            key.starts_with(&self.scope)
        }
    }

    fn tell_state(&mut self, snapshot: &Snapshot) {
        let mut objects: Vec<_> = snapshot
            .range(&self.scope, "")
            .filter(|(key, _)| self.in_scope(key))
            .filter_map(|(_, entry)| entry.served(&self.kind).ok())
            .filter(|object| self.selection.matches(&self.kind, object))
            .collect();
        // In the order of their last change, as a watch would have told them.
        objects.sort_by_key(|object| object.resource_version().parse::<i64>().unwrap_or_default());
        let events = objects.into_iter().map(|object| WatchedEvent {
            form: EventForm::Added,
            object,
        });
        self.queue.extend(events);
    }

    fn tell_history(&mut self, events: &[Event]) {
        for event in events {
            let Some(rest) = std::str::from_utf8(&event.kv.key)
                .ok()
                .and_then(|key| key.strip_prefix(&self.prefix))
                .filter(|rest| self.in_scope(rest))
            else {
                continue;
            };
            let previous = event.prev_kv.as_ref();
            let previous = previous.map(|kv| Arc::new(CachedObject::new(kv)));
            let event = match (event.kind, previous) {
                (EventKind::Put, previous) => CacheEvent {
                    kind: EventKind::Put,
                    revision: event.kv.mod_revision,
                    key: Arc::from(rest),
                    object: Arc::new(CachedObject::new(&event.kv)),
                    previous,
                },
                (EventKind::Delete, Some(previous)) => {
                    CacheEvent::deletion(Arc::from(rest), previous, event.kv.mod_revision)
                }
                (EventKind::Delete, None) => continue,
            };
            self.tell(&event);
        }
    }

    /// What an event means to this watcher's selectors.
    fn tell(&mut self, event: &CacheEvent) {
        self.told = self.told.max(event.revision);
        let kind = &self.kind;
        let matching = |entry: &CachedObject| {
            let object = entry.served(kind).ok()?;
            self.selection.matches(kind, &object).then_some(object)
        };
        let before = event.previous.as_deref().and_then(matching);
        if event.kind == EventKind::Delete {
            if before.is_some()
                && let Ok(object) = event.object.served(kind)
            {
                let form = EventForm::Deleted;
                self.queue.push_back(WatchedEvent { form, object });
            }
            return;
        }
        let now = matching(&event.object);
        let (form, object) = match (before, now) {
            (None, Some(now)) => (EventForm::Added, now),
            (Some(_), Some(now)) => (EventForm::Modified, now),
            (Some(before), None) => (EventForm::Deleted, restamped(&before, event.revision)),
            (None, None) => return,
        };
        self.queue.push_back(WatchedEvent { form, object });
    }
}

/// An object that left the selection is told as it was, at the revision at which it left.
fn restamped(object: &Object, revision: Revision) -> SharedObject {
    let mut tree = object.tree().clone();
    codec::stamp(&mut tree, revision);
    Arc::new(Object::new(tree))
}

enum Told {
    One(Arc<CacheEvent>),
    Batch(Vec<Event>),
    Nothing,
    Gone(Revision),
}

async fn receive(source: &mut Source) -> Option<Told> {
    match source {
        Source::Cache(events) => events.recv().await.map(Told::One),
        Source::Store(stream) => Some(match stream.next().await? {
            WatchItem::Events(batch) => Told::Batch(batch.events.clone()),
            WatchItem::Progress(_) => Told::Nothing,
            WatchItem::Compacted { compact_revision } => Told::Gone(compact_revision),
        }),
    }
}

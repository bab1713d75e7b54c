//! [`MemoryApi`]: an API server in memory, for tests of controllers.
//!
//! It keeps the rules that controllers lean on — versions and conflicts, watches
//! from a version, `generateName`, generations, the status subresource,
//! finalizers, grace periods of pods, finalization of namespaces — and nothing
//! else: no schema, defaults, validation or admission.

mod server;

use crate::{Api, ApiRequest, ApiResponse, Clock, Verb, WatchEvent, WatchParams, WatchStream};
use async_trait::async_trait;
use futures::StreamExt;
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, time};
use parking_lot::Mutex;
use server::{Server, describe, field, field_selector, label_selector};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

type Key = (GroupVersionResource, String);

#[derive(Clone)]
enum Change {
    Added(SharedObject),
    Modified(SharedObject),
    Deleted(SharedObject),
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, SharedObject>,
    version: u64,
    names: u64,
    history: Vec<(u64, GroupVersionResource, Change)>,
    refuse_writes: Option<Status>,
    writes: Vec<String>,
}

/// An API server in memory.
pub struct MemoryApi {
    state: Arc<Mutex<State>>,
    clock: Clock,
    /// The length of the history that watches may see.
    visible: watch::Sender<usize>,
    held: Mutex<bool>,
}

impl MemoryApi {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            state: Arc::default(),
            clock,
            visible: watch::channel(0).0,
            held: Mutex::new(false),
        }
    }

    /// Refuses every write with a status, or accepts them again.
    pub fn fail_writes(&self, status: Option<Status>) {
        self.state.lock().refuse_writes = status;
    }

    /// Holds watch events back (caches go stale), or lets them through again.
    pub fn hold_watches(&self, hold: bool) {
        *self.held.lock() = hold;
        self.show();
    }

    /// Every write so far, as `verb resource[/subresource] key`.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.state.lock().writes.clone()
    }

    /// Every object of a resource, in the order of keys.
    #[must_use]
    pub fn objects(&self, resource: &GroupVersionResource) -> Vec<SharedObject> {
        let state = self.state.lock();
        let of_resource = state.objects.iter().filter(|((of, _), _)| of == resource);
        of_resource.map(|(_, object)| object.clone()).collect()
    }

    /// One object by its key.
    #[must_use]
    pub fn object(&self, resource: &GroupVersionResource, key: &str) -> Option<SharedObject> {
        let key = (resource.clone(), key.to_owned());
        self.state.lock().objects.get(&key).cloned()
    }

    /// Waits until a condition on the content holds; checks it after each change.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut visible = self.visible.subscribe();
        while !condition(self) {
            visible.changed().await.expect("the sender is in self");
        }
    }

    fn show(&self) {
        if !*self.held.lock() {
            let length = self.state.lock().history.len();
            self.visible.send_replace(length);
        }
    }
}

#[async_trait]
impl Api for MemoryApi {
    async fn call(&self, request: ApiRequest) -> Result<ApiResponse, Status> {
        let answer = {
            let mut state = self.state.lock();
            if !matches!(request.verb, Verb::Get | Verb::List) {
                if let Some(status) = &state.refuse_writes {
                    return Err(status.clone());
                }
                let written = describe(&request);
                state.writes.push(written);
            }
            let now = time::format(self.clock.now());
            Server {
                state: &mut state,
                now,
            }
            .call(request)
        };
        self.show();
        // Lets others run between any two requests, as a network would.
        tokio::task::yield_now().await;
        answer
    }

    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
        let labels = label_selector(&params.label_selector)?;
        let fields = field_selector(&params.field_selector)?;
        let from: u64 = params.resource_version.parse().unwrap_or_default();
        let visible = self.visible.subscribe();
        let selects = move |object: &Object| {
            let namespace = params.namespace.as_deref();
            namespace.is_none_or(|namespace| namespace == object.namespace())
                && labels.matches(object)
                && fields.matches_with(|path| field(object, path))
        };
        let this = HistoryReader {
            state: self.state.clone(),
            resource: params.resource,
            next: 0,
            from,
            visible,
        };
        let stream = futures::stream::unfold(this, |mut this| async move {
            let change = this.next_change().await?;
            Some((change, this))
        });
        let events = stream.filter_map(move |change| {
            let event = match change {
                Change::Added(object) if selects(&object) => Some(WatchEvent::Added(object)),
                Change::Modified(object) if selects(&object) => Some(WatchEvent::Modified(object)),
                Change::Deleted(object) if selects(&object) => Some(WatchEvent::Deleted(object)),
                _ => None,
            };
            futures::future::ready(event.map(Ok))
        });
        Ok(events.boxed())
    }
}

/// Follows the history of one resource.
struct HistoryReader {
    state: Arc<Mutex<State>>,
    resource: GroupVersionResource,
    next: usize,
    from: u64,
    visible: watch::Receiver<usize>,
}

impl HistoryReader {
    async fn next_change(&mut self) -> Option<Change> {
        loop {
            let visible = *self.visible.borrow_and_update();
            while self.next < visible {
                let (version, resource, change) = self.state.lock().history[self.next].clone();
                self.next += 1;
                if version > self.from && resource == self.resource {
                    return Some(change);
                }
            }
            self.visible.changed().await.ok()?;
        }
    }
}

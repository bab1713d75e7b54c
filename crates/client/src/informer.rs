//! A cache of one resource, kept current by a watch, with indexes and a stream
//! of changes.
//!
//! The state machine is *list, watch, resume*: a broken watch resumes from the
//! last version seen; only "410 Gone" lists again. Readers never wait for the
//! writer longer than a map update takes.

use crate::{Client, ListParams, WatchEvent, WatchParams};
use futures::StreamExt;
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Tells under which keys an object is found in an index.
pub type IndexFn = fn(&Object) -> Vec<String>;

/// What an informer caches.
#[derive(Clone, Debug, Default)]
pub struct InformerConfig {
    /// The resource.
    pub resource: GroupVersionResource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector in its string form.
    pub label_selector: String,
    /// Field selector in its string form.
    pub field_selector: String,
    /// Named indexes.
    pub indexes: Vec<(&'static str, IndexFn)>,
}

impl InformerConfig {
    /// Everything of a resource, without indexes.
    #[must_use]
    pub fn all(resource: GroupVersionResource) -> Self {
        Self {
            resource,
            ..Self::default()
        }
    }

    /// Adds an index.
    #[must_use]
    pub fn index(mut self, name: &'static str, keys: IndexFn) -> Self {
        self.indexes.push((name, keys));
        self
    }
}

/// A change of one object: at least one side is present.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Before.
    pub old: Option<SharedObject>,
    /// After; `None` when it was deleted.
    pub new: Option<SharedObject>,
}

impl Delta {
    /// The newer side.
    ///
    /// # Panics
    /// Never: one side is always present.
    #[must_use]
    pub fn object(&self) -> &SharedObject {
        self.new
            .as_ref()
            .or(self.old.as_ref())
            .expect("a delta has at least one side")
    }
}

#[derive(Default)]
struct Content {
    objects: BTreeMap<String, SharedObject>,
    indexes: HashMap<&'static str, HashMap<String, BTreeSet<String>>>,
    resource_version: String,
}

/// The cached objects of one resource, by `namespace/name` (or `name`).
pub struct ObjectCache {
    index_fns: Vec<(&'static str, IndexFn)>,
    content: RwLock<Content>,
    subscribers: RwLock<Vec<mpsc::UnboundedSender<Delta>>>,
}

impl ObjectCache {
    /// An empty cache; public so that other feeds (NodeLink, tests) can fill one.
    #[must_use]
    pub fn new(index_fns: Vec<(&'static str, IndexFn)>) -> Self {
        Self {
            index_fns,
            content: RwLock::default(),
            subscribers: RwLock::default(),
        }
    }

    /// One object by its key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<SharedObject> {
        self.content.read().objects.get(key).cloned()
    }

    /// One object by namespace (empty for cluster scope) and name.
    #[must_use]
    pub fn get_named(&self, namespace: &str, name: &str) -> Option<SharedObject> {
        if namespace.is_empty() {
            self.get(name)
        } else {
            self.get(&format!("{namespace}/{name}"))
        }
    }

    /// Every object, in the order of keys.
    #[must_use]
    pub fn list(&self) -> Vec<SharedObject> {
        self.content.read().objects.values().cloned().collect()
    }

    /// Every object of one namespace.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<SharedObject> {
        let prefix = format!("{namespace}/");
        let content = self.content.read();
        let range = content.objects.range(prefix.clone()..);
        range
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Every object found under a key of a named index.
    #[must_use]
    pub fn by_index(&self, index: &str, key: &str) -> Vec<SharedObject> {
        let content = self.content.read();
        let keys = content.indexes.get(index).and_then(|index| index.get(key));
        keys.into_iter()
            .flatten()
            .filter_map(|key| content.objects.get(key).cloned())
            .collect()
    }

    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content.read().objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version up to which the cache is known to be current.
    #[must_use]
    pub fn resource_version(&self) -> String {
        self.content.read().resource_version.clone()
    }

    /// Receives every change from now on, after the present content as additions.
    ///
    /// The channel is unbounded, because a controller that maps changes to keys
    /// of a de-duplicating queue drains it at once; do no other work on it.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Delta> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let content = self.content.read();
        for object in content.objects.values() {
            let _ = sender.send(Delta {
                old: None,
                new: Some(object.clone()),
            });
        }
        // Registered under the content lock, so that no change falls in between.
        self.subscribers.write().push(sender);
        receiver
    }

    /// Takes in a new state of an object.
    pub fn upsert(&self, object: SharedObject) {
        let mut content = self.content.write();
        let key = object.key();
        let old = content.objects.insert(key.clone(), object.clone());
        self.reindex(&mut content, &key, old.as_deref(), Some(&object));
        self.tell(Delta {
            old,
            new: Some(object),
        });
    }

    /// Forgets an object; does nothing if it is not there.
    pub fn remove(&self, key: &str) {
        let mut content = self.content.write();
        if let Some(old) = content.objects.remove(key) {
            self.reindex(&mut content, key, Some(&old), None);
            self.tell(Delta {
                old: Some(old),
                new: None,
            });
        }
    }

    /// Replaces the whole content; what did not change causes no delta.
    pub fn replace(&self, objects: Vec<SharedObject>, resource_version: String) {
        let fresh: BTreeSet<String> = objects.iter().map(|object| object.key()).collect();
        let gone: Vec<String> = self
            .content
            .read()
            .objects
            .keys()
            .filter(|key| !fresh.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.remove(&key);
        }
        for object in objects {
            let known = self.get(&object.key());
            let same = |known: SharedObject| {
                known.uid() == object.uid() && known.resource_version() == object.resource_version()
            };
            if !known.is_some_and(same) {
                self.upsert(object);
            }
        }
        self.advance(resource_version);
    }

    /// Notes that the cache is current up to a version.
    pub fn advance(&self, resource_version: String) {
        self.content.write().resource_version = resource_version;
    }

    fn reindex(
        &self,
        content: &mut Content,
        key: &str,
        old: Option<&Object>,
        new: Option<&Object>,
    ) {
        for (name, keys_of) in &self.index_fns {
            let index = content.indexes.entry(name).or_default();
            for entry in old.map(keys_of).unwrap_or_default() {
                if let Some(keys) = index.get_mut(&entry) {
                    keys.remove(key);
                    if keys.is_empty() {
                        index.remove(&entry);
                    }
                }
            }
            for entry in new.map(keys_of).unwrap_or_default() {
                index.entry(entry).or_default().insert(key.to_owned());
            }
        }
    }

    fn tell(&self, delta: Delta) {
        // Called under the content lock, so that subscribers see changes in order.
        self.subscribers
            .write()
            .retain(|subscriber| subscriber.send(delta.clone()).is_ok());
    }
}

/// An [`ObjectCache`] that follows the API server.
pub struct Informer {
    cache: Arc<ObjectCache>,
    synced: watch::Receiver<bool>,
}

impl Informer {
    /// Starts following; ends when `cancel` is cancelled.
    #[must_use]
    pub fn start(client: Client, config: InformerConfig, cancel: CancellationToken) -> Self {
        let cache = Arc::new(ObjectCache::new(config.indexes.clone()));
        let (synced_sender, synced) = watch::channel(false);
        let follower = Follower {
            client,
            config,
            cache: cache.clone(),
            synced: synced_sender,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = follower.run() => {}
            }
        });
        Self { cache, synced }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<ObjectCache> {
        &self.cache
    }

    /// Whether the first list has been taken in.
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first list to be taken in.
    pub async fn synced(&self) {
        // An error means that the informer was cancelled; its waiters are, too.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }
}

/// The task behind an informer.
struct Follower {
    client: Client,
    config: InformerConfig,
    cache: Arc<ObjectCache>,
    synced: watch::Sender<bool>,
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

impl Follower {
    async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.list().await {
                Ok(()) => backoff = BACKOFF_MIN,
                Err(status) => {
                    tracing::debug!(resource = %self.config.resource, %status, "list failed, will try again");
                    pause(&mut backoff).await;
                    continue;
                }
            }
            self.watch_until_expired().await;
        }
    }

    fn handle(&self) -> crate::ResourceClient {
        self.client.scoped(
            &self.config.resource,
            self.config.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn list(&self) -> Result<(), Status> {
        let params = ListParams {
            label_selector: self.config.label_selector.clone(),
            field_selector: self.config.field_selector.clone(),
            ..ListParams::default()
        };
        let (items, resource_version) = self.handle().list(params).await?;
        self.cache.replace(items, resource_version);
        self.synced.send_replace(true);
        Ok(())
    }

    /// Returns when the version to resume from is gone.
    async fn watch_until_expired(&self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let params = WatchParams {
                label_selector: self.config.label_selector.clone(),
                field_selector: self.config.field_selector.clone(),
                resource_version: self.cache.resource_version(),
                bookmarks: true,
                ..WatchParams::default()
            };
            let ended = match self.handle().watch(params).await {
                Ok(mut stream) => {
                    let mut ended = None;
                    while let Some(item) = stream.next().await {
                        match item {
                            Ok(event) => {
                                self.take_in(event);
                                backoff = BACKOFF_MIN;
                            }
                            Err(status) => ended = Some(status),
                        }
                    }
                    ended
                }
                Err(status) => Some(status),
            };
            if let Some(status) = ended {
                if status.is_expired() {
                    return;
                }
                tracing::debug!(resource = %self.config.resource, %status, "watch broke, will resume");
            }
            pause(&mut backoff).await;
        }
    }

    fn take_in(&self, event: WatchEvent) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.resource_version().to_owned();
                self.cache.upsert(object);
                self.cache.advance(version);
            }
            WatchEvent::Deleted(object) => {
                self.cache.remove(&object.key());
                self.cache.advance(object.resource_version().to_owned());
            }
            WatchEvent::Bookmark {
                resource_version, ..
            } => self.cache.advance(resource_version),
        }
    }
}

async fn pause(backoff: &mut Duration) {
    // Jitter keeps a thousand informers from returning in the same instant.
    let jitter = rand::random_range(0.5..1.0);
    tokio::time::sleep(backoff.mul_f64(jitter)).await;
    *backoff = (*backoff * 2).min(BACKOFF_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, version: u32) -> SharedObject {
        let tree = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string()},
            "spec": {"nodeName": node},
        });
        Arc::new(Object::from_value(tree).expect("a map"))
    }

    fn by_node(object: &Object) -> Vec<String> {
        object
            .str_at(&["spec", "nodeName"])
            .map(str::to_owned)
            .into_iter()
            .collect()
    }

    #[test]
    fn an_index_follows_changes_and_deletions() {
        let cache = ObjectCache::new(vec![("node", by_node)]);
        cache.upsert(pod("a", "x", 1));
        cache.upsert(pod("b", "x", 2));
        assert_eq!(cache.by_index("node", "x").len(), 2);
        cache.upsert(pod("a", "y", 3));
        assert_eq!(cache.by_index("node", "x").len(), 1);
        assert_eq!(cache.by_index("node", "y").len(), 1);
        cache.remove("n/a");
        assert!(cache.by_index("node", "y").is_empty());
    }

    #[test]
    fn a_replacement_tells_only_what_changed() {
        let cache = ObjectCache::new(Vec::new());
        cache.upsert(pod("a", "x", 1));
        cache.upsert(pod("b", "x", 2));
        let mut deltas = cache.subscribe();
        while deltas.try_recv().is_ok() {}
        cache.replace(vec![pod("a", "x", 1), pod("c", "x", 3)], "3".into());
        let told: Vec<(String, bool)> = std::iter::from_fn(|| deltas.try_recv().ok())
            .map(|delta| (delta.object().name().to_owned(), delta.new.is_some()))
            .collect();
        assert_eq!(told, [("b".to_owned(), false), ("c".to_owned(), true)]);
        assert_eq!(cache.resource_version(), "3");
    }

    #[test]
    fn a_subscriber_first_sees_what_is_there() {
        let cache = ObjectCache::new(Vec::new());
        cache.upsert(pod("a", "x", 1));
        let mut deltas = cache.subscribe();
        assert_eq!(
            deltas.try_recv().expect("the addition").object().name(),
            "a"
        );
    }
}

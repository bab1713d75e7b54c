//! The watch cache: the present and the recent past of everything below
//! `/registry/`, fed by one watch on the store.
//!
//! Per resource it keeps an immutable ordered map (a snapshot is one pointer)
//! and a bounded window of events. Values stay as the store's bytes until
//! somebody asks for the object; then they are decoded once and shared.
//!
//! **Invariants:** the cache's revision is published only after every event up
//! to it is in the maps and in the watchers' queues; a slow watcher is ended,
//! never waited for.

mod entry;
mod feed;
mod resource;

pub use entry::{CacheEvent, CachedObject};
pub use resource::{ResourceCache, Snapshot, Subscription, TooOld};

use kontiki_store::{Revision, Store, StoreError};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// What the cache covers.
pub const ROOT: &str = "/registry/";

/// Limits of the cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Events kept for each resource, so that watches can resume.
    pub history_events_max: usize,
    /// Events that may wait for one watcher before it is ended.
    pub watcher_events_max: usize,
    /// Keys read at once when the cache is filled.
    pub page_keys: i64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            history_events_max: 2048,
            watcher_events_max: 1024,
            page_keys: 1000,
        }
    }
}

/// A resource that is to be covered.
struct Addition {
    prefix: String,
    done: oneshot::Sender<()>,
}

/// The watch cache.
pub struct WatchCache {
    store: Arc<dyn Store>,
    limits: CacheLimits,
    /// By key prefix with a slash at the end.
    resources: RwLock<BTreeMap<String, Arc<ResourceCache>>>,
    /// Everything up to this revision is in the maps; 0 until they are filled.
    revision: watch::Sender<Revision>,
    /// Prefixes that are to be covered as well; the feed fills them.
    additions: Mutex<Vec<Addition>>,
    additions_wanted: Notify,
    /// Asks the feed to find out whether the store is ahead of the last event.
    progress_wanted: Notify,
}

impl WatchCache {
    /// An empty cache; [`WatchCache::run`] fills it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, limits: CacheLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            resources: RwLock::default(),
            revision: watch::Sender::new(0),
            additions: Mutex::default(),
            additions_wanted: Notify::new(),
            progress_wanted: Notify::new(),
        })
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The cache of one resource, by its key prefix without a slash at the end.
    #[must_use]
    pub fn resource(&self, key_prefix: &str) -> Arc<ResourceCache> {
        let prefix = format!("{key_prefix}/");
        if let Some(found) = self.resources.read().get(&prefix) {
            return found.clone();
        }
        self.resources
            .write()
            .entry(prefix.clone())
            .or_insert_with(|| Arc::new(ResourceCache::new(prefix, self.limits)))
            .clone()
    }

    /// Covers further resources, by their key prefixes; returns once they are filled.
    ///
    /// # Errors
    /// If the feed ends before.
    pub async fn add(&self, key_prefixes: Vec<String>) -> Result<(), StoreError> {
        let mut waiting = Vec::new();
        {
            let known = self.resources.read();
            let mut additions = self.additions.lock();
            for prefix in key_prefixes {
                let prefix = format!("{prefix}/");
                if known.contains_key(&prefix) {
                    continue;
                }
                let (done, filled) = oneshot::channel();
                additions.push(Addition { prefix, done });
                waiting.push(filled);
            }
        }
        if !waiting.is_empty() {
            self.additions_wanted.notify_one();
        }
        for filled in waiting {
            filled.await.map_err(|_| StoreError::Stopped)?;
        }
        Ok(())
    }

    /// Covers a resource no longer; its watches end.
    pub fn forget(&self, key_prefix: &str) {
        let gone = self.resources.write().remove(&format!("{key_prefix}/"));
        if let Some(gone) = gone {
            gone.end_watches();
        }
    }

    fn resource_of_key(&self, key: &str) -> Option<Arc<ResourceCache>> {
        let resources = self.resources.read();
        let (prefix, cache) = resources
            .range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
            .next_back()?;
        key.starts_with(prefix.as_str()).then(|| cache.clone())
    }

    fn all(&self) -> Vec<Arc<ResourceCache>> {
        self.resources.read().values().cloned().collect()
    }

    /// How many objects each resource has, by key prefix.
    #[must_use]
    pub fn object_counts(&self) -> Vec<(String, usize)> {
        self.all()
            .iter()
            .map(|cache| (cache.prefix().to_owned(), cache.len()))
            .collect()
    }

    /// The revision that the cache has reached; 0 until it is filled.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Whether the cache has been filled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.revision() > 0
    }

    /// Waits until the cache has reached a revision; `false` if that took too long.
    pub async fn wait_for(&self, revision: Revision, patience: Duration) -> bool {
        let mut reached = self.revision.subscribe();
        if *reached.borrow_and_update() >= revision.max(1) {
            return true;
        }
        self.progress_wanted.notify_one();
        let waited =
            tokio::time::timeout(patience, reached.wait_for(|at| *at >= revision.max(1))).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Waits until the cache shows everything that was acknowledged before the call.
    ///
    /// # Errors
    /// If the store cannot tell, or the cache does not follow in time.
    pub async fn wait_fresh(&self, patience: Duration) -> Result<Revision, StoreError> {
        let revision = self.store.read_barrier().await?;
        if self.wait_for(revision, patience).await {
            Ok(self.revision())
        } else {
            Err(StoreError::Timeout)
        }
    }
}

#[cfg(test)]
mod tests;

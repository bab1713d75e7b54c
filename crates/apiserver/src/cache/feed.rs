//! Fills the cache and keeps it up to date.

use super::entry::CachedObject;
use super::resource::{Objects, ResourceCache};
use super::{ROOT, WatchCache};
use kontiki_store::{
    EventBatch, KeyRange, KeyValue, RangeRequest, Revision, StoreError, WatchItem, WatchRequest,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long to wait before the store is asked again after an error.
const RETRY: Duration = Duration::from_millis(200);
/// The same error again is news only if the feed held at least this long.
const NEWS_AFTER: Duration = Duration::from_secs(5);

impl WatchCache {
    /// Keeps the cache up to date until `cancel`.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut first = true;
        let mut told = None;
        while !cancel.is_cancelled() {
            let began = Instant::now();
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.follow(first) => outcome,
            };
            first = first && !self.is_ready();
            if let Err(error) = outcome {
                // Without a leader this comes five times a second.
                if told.as_ref() != Some(&error) || began.elapsed() >= NEWS_AFTER {
                    tracing::warn!(%error, "the watch cache lost the store's feed; it starts over");
                }
                told = Some(error);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn follow(&self, first: bool) -> Result<(), StoreError> {
        let revision = self.fill(first).await?;
        let mut stream = self
            .store
            .watch(WatchRequest {
                range: KeyRange::prefix(ROOT),
                start_revision: revision + 1,
                prev_kv: false,
                buffer: 0,
            })
            .await?;
        self.reached(revision);
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                () = self.additions_wanted.notified() => {
                    self.fill_additions().await?;
                    continue;
                }
                () = self.progress_wanted.notified() => {
                    stream.request_progress();
                    continue;
                }
            };
            match item {
                Some(WatchItem::Events(batch)) => self.apply(&batch),
                Some(WatchItem::Progress(revision)) => self.reached(revision),
                Some(WatchItem::Compacted { compact_revision }) => {
                    return Err(StoreError::Compacted { compact_revision });
                }
                None => return Err(StoreError::Stopped),
            }
        }
    }

    fn apply(&self, batch: &EventBatch) {
        for event in &batch.events {
            let Ok(key) = std::str::from_utf8(&event.kv.key) else {
                continue;
            };
            if let Some(cache) = self.resource_of_key(key) {
                let rest = &key[cache.prefix().len()..];
                cache.apply(event.kind, rest, &event.kv);
            }
        }
        self.reached(batch.revision);
    }

    fn reached(&self, revision: Revision) {
        self.revision.send_if_modified(|at| {
            let ahead = revision > *at;
            if ahead {
                *at = revision;
            }
            ahead
        });
    }

    /// Fills what joined while the feed runs, as of the last event that was
    /// taken in: later events find it in its place.
    async fn fill_additions(&self) -> Result<(), StoreError> {
        let additions = std::mem::take(&mut *self.additions.lock());
        for addition in additions {
            if !self.resources.read().contains_key(&addition.prefix) {
                let revision = self.revision();
                let cache = Arc::new(ResourceCache::new(addition.prefix.clone(), self.limits));
                let objects = self.read_all(&addition.prefix, revision).await?;
                cache.reset(objects, revision, true);
                self.resources.write().insert(addition.prefix, cache);
            }
            let _ = addition.done.send(());
        }
        Ok(())
    }

    async fn read_all(&self, prefix: &str, revision: Revision) -> Result<Objects, StoreError> {
        let mut objects = Objects::new();
        let mut range = KeyRange::prefix(prefix.to_owned());
        loop {
            let page = self
                .store
                .range(RangeRequest {
                    range: range.clone(),
                    limit: self.limits.page_keys,
                    revision,
                    serializable: true,
                    ..RangeRequest::default()
                })
                .await?;
            for kv in &page.kvs {
                let key = std::str::from_utf8(&kv.key).ok();
                if let Some(rest) = key.and_then(|key| key.strip_prefix(prefix)) {
                    objects.insert(Arc::from(rest), Arc::new(CachedObject::new(kv)));
                }
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else {
                return Ok(objects);
            };
            let mut next = last.key.to_vec();
            next.push(0);
            range.key = next.into();
        }
    }

    /// Reads everything at one revision, page by page.
    async fn fill(&self, first: bool) -> Result<Revision, StoreError> {
        let additions = std::mem::take(&mut *self.additions.lock());
        for addition in additions {
            let _ = self.resource(addition.prefix.trim_end_matches('/'));
            // The caller waits for the fill by the revision that it makes known.
            let _ = addition.done.send(());
        }
        let revision = self.store.read_barrier().await?;
        let mut filled: HashMap<String, (Arc<ResourceCache>, Objects)> = self
            .all()
            .into_iter()
            .map(|cache| (cache.prefix().to_owned(), (cache, Objects::new())))
            .collect();
        let mut range = KeyRange::prefix(ROOT);
        loop {
            let page = self
                .store
                .range(RangeRequest {
                    range: range.clone(),
                    limit: self.limits.page_keys,
                    revision,
                    serializable: true,
                    ..RangeRequest::default()
                })
                .await?;
            for kv in &page.kvs {
                self.place(kv, &mut filled);
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else {
                break;
            };
            let mut next = last.key.to_vec();
            next.push(0);
            range.key = next.into();
        }
        for (cache, objects) in filled.into_values() {
            cache.reset(objects, revision, first);
        }
        Ok(revision)
    }

    fn place(&self, kv: &KeyValue, filled: &mut HashMap<String, (Arc<ResourceCache>, Objects)>) {
        let Ok(key) = std::str::from_utf8(&kv.key) else {
            return;
        };
        let Some(cache) = self.resource_of_key(key) else {
            return;
        };
        let rest: Arc<str> = Arc::from(&key[cache.prefix().len()..]);
        if let Some((_, objects)) = filled.get_mut(cache.prefix()) {
            objects.insert(rest, Arc::new(CachedObject::new(kv)));
        }
    }
}

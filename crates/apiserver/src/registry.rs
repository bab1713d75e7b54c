//! One path for every kind: how objects are read and written.
//!
//! A write is a [`Mutation`]: a plan made from what is stored now. The registry
//! turns the plan into one transaction that holds only if the object is still
//! what the plan was made from, and plans again if it is not: optimistic
//! concurrency is retried here and nowhere else.

mod context;
mod create;
mod delete;
mod edit;
mod fields;
mod list;
mod mutation;
mod names;
mod owners;

pub use names::generate as generate_name;
mod patch;
mod selection;
mod update;
mod watch;

pub use context::{FieldValidation, RequestContext, Target, WriteOptions};
pub(crate) use create::{check_name, default as default_object, place, shape};
pub use delete::{DeleteOutcome, DeleteRequest, returns_object};
pub use edit::Check;
pub(crate) use fields::{apply as apply_fields, note_update, on_create as note_creation};
pub use list::{ListPage, ListRequest};
pub use mutation::{Guard, Mutation, Plan, Stored};
pub use patch::PatchBody;
pub(crate) use patch::{node as schema_node, patched as patch_tree};
pub use selection::Selection;
pub use update::UpdateOutcome;
pub use watch::{EventForm, INITIAL_EVENTS_END, WatchRequest, WatchedEvent, Watching};

use crate::admission::Admission;
use crate::allocate::Allocator;
use crate::cache::{CachedObject, WatchCache};
use crate::catalog::Catalog;
use crate::custom::{NoWebhooks, WebhookCaller};
use crate::error;
use crate::lease::LeasePool;
use arc_swap::ArcSwap;
use kontiki_kinds::Kind;
use kontiki_object::{SharedObject, Status};
use kontiki_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits until this server's cache has caught up.
const FRESHNESS_PATIENCE: Duration = Duration::from_secs(10);
/// How long a read waits for a resource version that nobody has heard of.
const FUTURE_PATIENCE: Duration = Duration::from_secs(3);

/// Reads and writes objects.
pub struct Registry {
    cache: Arc<WatchCache>,
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    admission: Admission,
    allocator: Allocator,
    leases: LeasePool,
    webhooks: ArcSwap<Arc<dyn WebhookCaller>>,
}

impl Registry {
    /// On a cache and the store below it.
    #[must_use]
    pub fn new(
        cache: Arc<WatchCache>,
        catalog: Arc<Catalog>,
        admission: Admission,
        allocator: Allocator,
    ) -> Arc<Self> {
        let store = cache.store().clone();
        for kind in catalog.kinds().iter() {
            if let Some(storage) = &kind.storage {
                let _ = cache.resource(&storage.key_prefix);
            }
        }
        Arc::new(Self {
            leases: LeasePool::new(store.clone()),
            cache,
            store,
            catalog,
            admission,
            allocator,
            webhooks: ArcSwap::from_pointee(Arc::new(NoWebhooks)),
        })
    }

    /// Calls conversion webhooks by `caller` from now on.
    pub fn set_webhooks(&self, caller: Arc<dyn WebhookCaller>) {
        self.webhooks.store(Arc::new(caller));
    }

    pub(crate) fn webhooks(&self) -> Arc<dyn WebhookCaller> {
        Arc::clone(&self.webhooks.load())
    }

    /// The watch cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<WatchCache> {
        &self.cache
    }

    /// The kinds that are served.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What requests pass on their way to the store.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Waits until the cache shows everything acknowledged so far.
    pub(crate) async fn fresh(&self) -> Result<i64, Status> {
        self.cache
            .wait_fresh(FRESHNESS_PATIENCE)
            .await
            .map_err(|error| error::from_store(&error))
    }

    /// Waits until the cache is at least as new as a resource version.
    async fn not_older_than(&self, revision: i64) -> Result<(), Status> {
        if self.cache.wait_for(revision, FUTURE_PATIENCE).await {
            return Ok(());
        }
        Err(error::too_large_resource_version(
            revision,
            self.cache.revision(),
        ))
    }

    /// One object as the cache has it, in the form that `kind` serves.
    #[must_use]
    pub fn cached(&self, kind: &Kind, namespace: &str, name: &str) -> Option<SharedObject> {
        self.cached_entry(kind, namespace, name)?.served(kind).ok()
    }

    /// Everything of a kind (in one namespace, or in all) as the cache has it.
    #[must_use]
    pub fn cached_list(&self, kind: &Kind, namespace: &str) -> Vec<SharedObject> {
        let Some(storage) = &kind.storage else {
            return Vec::new();
        };
        let snapshot = self.cache.resource(&storage.key_prefix).snapshot();
        let scope = selection::scope(namespace);
        snapshot
            .range(&scope, "")
            .filter_map(|(_, object)| object.served(kind).ok())
            .collect()
    }

    fn cached_entry(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<CachedObject>> {
        let storage = kind.storage.as_ref()?;
        self.cache
            .resource(&storage.key_prefix)
            .get(&selection::key(namespace, name))
    }

    /// Reads one object; `resource_version` as in the query: empty for the
    /// newest, `0` for whatever is cached, else at least that new.
    ///
    /// # Errors
    /// 404, or what kept the server from answering.
    pub async fn get(
        &self,
        target: &Target,
        resource_version: &str,
    ) -> Result<SharedObject, Status> {
        match resource_version {
            "" => {
                self.fresh().await?;
            }
            text => {
                let revision = list::parse_get_version(text)?;
                self.not_older_than(revision).await?;
            }
        }
        let kind = &target.kind;
        let entry = self
            .cached_entry(kind, &target.namespace, &target.name)
            .ok_or_else(|| target.not_found())?;
        self.convert_entries(kind, std::iter::once(&entry)).await?;
        entry
            .served(kind)
            .map_err(|error| error::from_codec(&error, &target.store_key()))
    }
}

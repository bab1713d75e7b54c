//! The caches that all controllers share, one a resource.

use kontiki_client::{Client, Informer, InformerConfig, ObjectCache};
use kontiki_object::{GroupVersionResource, Object, SharedObject};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Index: the UID of each owner → its dependents.
pub(crate) const BY_OWNER: &str = "owner";
/// Index: namespace → objects without a controller.
pub(crate) const ORPHANS: &str = "orphans";
/// Index: node → what runs there.
pub(crate) const BY_NODE: &str = "node";

/// The caches that all controllers share; each is started when first asked for
/// and then kept current, leading or not.
pub struct Caches {
    client: Client,
    cancel: CancellationToken,
    informers: RwLock<HashMap<GroupVersionResource, Arc<Informer>>>,
}

impl Caches {
    /// No caches yet.
    #[must_use]
    pub fn new(client: Client, cancel: CancellationToken) -> Self {
        Self {
            client,
            cancel,
            informers: RwLock::default(),
        }
    }

    /// The cache of a resource.
    pub fn of(&self, resource: &GroupVersionResource) -> Arc<ObjectCache> {
        self.informer(resource).cache().clone()
    }

    /// The informer of a resource.
    pub fn informer(&self, resource: &GroupVersionResource) -> Arc<Informer> {
        if let Some(informer) = self.informers.read().get(resource) {
            return informer.clone();
        }
        let mut informers = self.informers.write();
        let informer = informers.entry(resource.clone()).or_insert_with(|| {
            let config = InformerConfig::all(resource.clone())
                .index(BY_OWNER, owner_uids)
                .index(ORPHANS, orphan_namespace)
                .index(BY_NODE, node_name);
            let informer = Informer::start(self.client.clone(), config, self.cancel.child_token());
            Arc::new(informer)
        });
        informer.clone()
    }

    /// One object.
    pub fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Option<SharedObject> {
        self.of(resource).get_named(namespace, name)
    }

    /// The dependents of an owner among one resource.
    pub fn owned(&self, resource: &GroupVersionResource, uid: &str) -> Vec<SharedObject> {
        self.of(resource).by_index(BY_OWNER, uid)
    }

    /// What an owner has or might adopt among one resource: its dependents, and
    /// whatever in its namespace has no controller.
    pub fn claimable(&self, resource: &GroupVersionResource, owner: &Object) -> Vec<SharedObject> {
        let cache = self.of(resource);
        let mut found = cache.by_index(BY_OWNER, owner.uid());
        found.retain(|object| object.controller_of().is_some());
        found.extend(cache.by_index(ORPHANS, owner.namespace()));
        found
    }

    /// Whatever runs on a node.
    pub fn on_node(&self, resource: &GroupVersionResource, node: &str) -> Vec<SharedObject> {
        self.of(resource).by_index(BY_NODE, node)
    }
}

fn owner_uids(object: &Object) -> Vec<String> {
    let owners = object.owner_references().into_iter();
    owners.map(|owner| owner.uid).collect()
}

fn orphan_namespace(object: &Object) -> Vec<String> {
    match object.controller_of() {
        None => vec![object.namespace().to_owned()],
        Some(_) => Vec::new(),
    }
}

fn node_name(object: &Object) -> Vec<String> {
    let node = object.str_at(&["spec", "nodeName"]);
    node.map(str::to_owned).into_iter().collect()
}

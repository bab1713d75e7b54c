//! Follows the definitions on every server: keeps the catalog and the watch
//! cache in step with them, decides their statuses, and clears up after those
//! that go.
//!
//! **Invariant:** once [`Controller::caught_up`] answers for a revision, every
//! definition that was established by then is served here.

use super::{kinds, naming};
use crate::catalog::built_in;
use crate::registry::{DeleteRequest, ListRequest, Registry, RequestContext, Target, WriteOptions};
use jiff::Timestamp;
use kontiki_auth::UserInfo;
use kontiki_auth::user::{API_SERVER, MASTERS};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{SharedObject, Status, Value, time};
use kontiki_store::Revision;
use kontiki_structural::definition::{CLEANUP_FINALIZER, Condition, set_condition};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
const FIELD_MANAGER: &str = "kube-apiserver";
/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a request waits for a definition that may have just come.
const PATIENCE: Duration = Duration::from_secs(2);

struct Built {
    identity: String,
    prefix: String,
    kinds: Vec<Arc<Kind>>,
}

/// The controller of one server.
pub struct Controller {
    registry: Arc<Registry>,
    definition: Arc<Kind>,
    /// What the definitions gave, by name.
    built: Mutex<BTreeMap<String, Built>>,
    /// Definitions that are being cleared up after, by UID.
    cleaning: Mutex<HashSet<String>>,
    seen: watch::Sender<Revision>,
    wanted: Notify,
}

impl Controller {
    /// On a registry; [`Controller::run`] does the work.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Arc<Self> {
        let definition = built_in()
            .iter()
            .find(|kind| kind.group == GROUP && kind.plural == RESOURCE)
            .expect("definitions are built in")
            .clone();
        Arc::new(Self {
            registry,
            definition,
            built: Mutex::default(),
            cleaning: Mutex::default(),
            seen: watch::Sender::new(0),
            wanted: Notify::new(),
        })
    }

    /// Waits until every definition that was acknowledged before the call has
    /// been looked at.
    pub async fn caught_up(&self) {
        let wait = async {
            let Ok(revision) = self.registry.fresh().await else {
                return;
            };
            let mut seen = self.seen.subscribe();
            self.wanted.notify_one();
            let _ = seen.wait_for(|at| *at >= revision).await;
        };
        // Without an answer the caller finds what there is: a store without a
        // quorum must not keep clients from learning what is served.
        let _ = tokio::time::timeout(PATIENCE, wait).await;
    }

    /// Follows the definitions until `cancel`.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow(&cancel) => {}
        }
    }

    async fn follow(self: &Arc<Self>, cancel: &CancellationToken) {
        let cache = self.registry.cache().clone();
        while !cache.wait_for(1, PATIENCE).await {}
        let prefix = self.definition.storage.as_ref().expect("is stored");
        let resource = cache.resource(&prefix.key_prefix);
        loop {
            let revision = cache.revision();
            let Ok(mut changes) = resource.subscribe("", false, revision) else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let mut is_stale = true;
            loop {
                // Events reach the queue before their revision is published.
                let revision = cache.revision();
                while changes.events.try_recv().is_ok() {
                    is_stale = true;
                }
                if is_stale {
                    is_stale = self.sync(cancel).await.is_err();
                }
                if !is_stale {
                    self.seen.send_replace(revision);
                }
                tokio::select! {
                    event = changes.events.recv() => match event {
                        Some(_) => is_stale = true,
                        None => break,
                    },
                    () = self.wanted.notified() => {}
                    () = tokio::time::sleep(RETRY), if is_stale => {}
                }
            }
        }
    }

    /// Brings everything in step with the definitions as they are now.
    async fn sync(self: &Arc<Self>, cancel: &CancellationToken) -> Result<(), Status> {
        let definitions = self.registry.cached_list(&self.definition, "");
        self.publish(&definitions).await?;
        let mut is_written = false;
        for definition in &definitions {
            let tree = definition.tree();
            if definition.is_terminating() {
                self.clear_up(definition, cancel);
                continue;
            }
            let group = group_of(tree);
            let others: Vec<&Tree> = definitions
                .iter()
                .filter(|other| other.name() != definition.name())
                .map(|other| other.tree())
                .filter(|other| group_of(other) == group)
                .collect();
            let now = time::format(Timestamp::now());
            if let Some(wanted) = naming::status(tree, &others, &now) {
                self.write(definition.name(), wanted, "status").await?;
                is_written = true;
            }
        }
        if is_written {
            // What was established just now is served before anybody is told
            // that everything has been looked at.
            self.registry.fresh().await?;
            let definitions = self.registry.cached_list(&self.definition, "");
            self.publish(&definitions).await?;
        }
        Ok(())
    }

    /// Serves what the definitions give, and nothing else.
    async fn publish(&self, definitions: &[SharedObject]) -> Result<(), Status> {
        let mut next: BTreeMap<String, Built> = BTreeMap::new();
        let mut is_changed = false;
        {
            let mut built = self.built.lock();
            for definition in definitions {
                let name = definition.name().to_owned();
                let identity = format!("{}/{}", definition.uid(), definition.resource_version());
                let known = built
                    .remove(&name)
                    .filter(|known| known.identity == identity);
                is_changed |= known.is_none();
                let one = known.unwrap_or_else(|| Built {
                    prefix: kinds::key_prefix(definition.tree()),
                    kinds: kinds::of(definition.tree(), &identity),
                    identity,
                });
                next.insert(name, one);
            }
            is_changed |= !built.is_empty();
            for gone in built.values() {
                self.registry.cache().forget(&gone.prefix);
            }
        }
        let prefixes: Vec<String> = next
            .values()
            .filter(|built| !built.kinds.is_empty())
            .map(|built| built.prefix.clone())
            .collect();
        // If this fails everything is built anew, and so counts as changed.
        let added = self.registry.cache().add(prefixes).await;
        added.map_err(|error| crate::error::from_store(&error))?;
        if is_changed {
            let custom = next.values().flat_map(|built| built.kinds.iter().cloned());
            let mut custom: Vec<Arc<Kind>> = custom.collect();
            custom.sort_by(|a, b| {
                (&a.group, kinds::priority(&b.version), &a.plural).cmp(&(
                    &b.group,
                    kinds::priority(&a.version),
                    &b.plural,
                ))
            });
            let mut all = built_in().to_vec();
            all.extend(custom);
            self.registry.catalog().replace(all);
        }
        *self.built.lock() = next;
        Ok(())
    }

    fn context(&self) -> RequestContext {
        let user = UserInfo::new(API_SERVER, &[MASTERS]);
        RequestContext::new(Arc::new(user), Timestamp::now())
    }

    async fn write(&self, name: &str, wanted: Tree, part: &str) -> Result<(), Status> {
        let target = Target {
            subresource: part.to_owned(),
            ..Target::object(&self.definition, "", name)
        };
        let options = WriteOptions {
            field_manager: FIELD_MANAGER.to_owned(),
            ..WriteOptions::default()
        };
        let context = self.context();
        match self
            .registry
            .update(&context, &target, wanted, &options)
            .await
        {
            Ok(_) => Ok(()),
            // Another server was faster, or the definition is gone: its event comes.
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(status) => {
                tracing::warn!(name, message = %status.message, "a definition's status was not written");
                Err(status)
            }
        }
    }

    /// Deletes the objects of a definition, then lets it go.
    fn clear_up(self: &Arc<Self>, definition: &SharedObject, cancel: &CancellationToken) {
        let waits = definition
            .finalizers()
            .any(|name| name == CLEANUP_FINALIZER);
        let uid = definition.uid().to_owned();
        if !waits || !self.cleaning.lock().insert(uid.clone()) {
            return;
        }
        let (this, name, cancel) = (self.clone(), definition.name().to_owned(), cancel.clone());
        tokio::spawn(async move {
            loop {
                match this.clear_up_once(&name, &uid).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(status) => {
                        tracing::warn!(name, message = %status.message, "the objects of a definition were not deleted");
                    }
                }
                tokio::select! {
                    () = cancel.cancelled() => break,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            this.cleaning.lock().remove(&uid);
        });
    }

    /// One attempt; `true` once there is nothing left to do.
    async fn clear_up_once(&self, name: &str, uid: &str) -> Result<bool, Status> {
        self.registry.fresh().await?;
        let definition = self.registry.cached(&self.definition, "", name);
        let Some(definition) = definition.filter(|definition| definition.uid() == uid) else {
            return Ok(true);
        };
        let mut tree = definition.tree().clone();
        if let Some(kind) = kinds::stored(&tree) {
            let prefix = kinds::key_prefix(&tree);
            let added = self.registry.cache().add(vec![prefix]).await;
            added.map_err(|error| crate::error::from_store(&error))?;
            let target = Target::object(&kind, "", "");
            let context = self.context();
            let request = DeleteRequest::default();
            let everything = ListRequest::default();
            self.registry
                .delete_collection(&context, &target, &everything, &request)
                .await?;
            self.registry.fresh().await?;
            let left = self.registry.list(&target, &everything).await?;
            if !left.items.is_empty() {
                return Ok(false);
            }
        }
        let now = time::format(Timestamp::now());
        let done = Condition {
            ty: "Terminating",
            status: "False",
            reason: "InstanceDeletionCompleted",
            message: "removed all instances",
        };
        set_condition(&mut tree, &done, &now);
        let metadata = tree.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata
            && let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut)
        {
            finalizers.retain(|name| name != CLEANUP_FINALIZER);
            if finalizers.is_empty() {
                metadata.remove("finalizers");
            }
        }
        self.write(name, tree, "").await?;
        Ok(false)
    }
}

fn group_of(definition: &Tree) -> &str {
    definition
        .get("spec")
        .and_then(|spec| spec["group"].as_str())
        .unwrap_or_default()
}

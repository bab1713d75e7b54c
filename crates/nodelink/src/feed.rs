//! What one node is told: its view, computed under its own identity.
//!
//! Every resource of the view is a watch that begins with the present state, so
//! the view is consistent with the moment the stream was opened. What the agent
//! already holds is not sent again, and what it holds in error is deleted.

use crate::proto::{Delete, Known, Synced, Upsert, server_message::Message as Down};
use crate::view::references;
use futures::StreamExt;
use kontiki_client::{Api, WatchEvent, WatchParams, resources};
use kontiki_object::{GroupVersionResource, Object, Status};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What is sent to the node.
pub type Out = mpsc::Sender<Down>;

/// Held by everything that the first complete view waits for; never sent on.
type Pending = mpsc::Sender<()>;

type Reference = (GroupVersionResource, String);

/// Feeds a node until its stream ends (`out` closes). `api` acts as the node;
/// `network` as its service proxy, who may see every Service and Node, as a node
/// itself may not.
pub async fn feed(
    api: Arc<dyn Api>,
    network: Arc<dyn Api>,
    node: String,
    known: Vec<Known>,
    out: Out,
) {
    let mut held: HashMap<String, HashMap<String, String>> = HashMap::new();
    for entry in known {
        held.entry(entry.resource)
            .or_default()
            .insert(entry.key, entry.resource_version);
    }
    let mut tasks = JoinSet::new();
    let (pending, mut complete) = mpsc::channel(1);
    for resource in [
        resources::SERVICES,
        resources::ENDPOINT_SLICES,
        resources::NODES,
    ] {
        let held = held.remove(&*resource.resource).unwrap_or_default();
        let follower = Follower::new(network.clone(), out.clone(), Selection::all(resource), held);
        tasks.spawn(follower.run(pending.clone()));
    }
    let held_references = [resources::CONFIG_MAPS, resources::SECRETS]
        .into_iter()
        .flat_map(|resource| {
            let held = held.remove(&*resource.resource).unwrap_or_default();
            held.into_iter()
                .map(move |(key, version)| ((resource.clone(), key), version))
        });
    let held_references = held_references.collect();
    let pods = PodFeed {
        api,
        out: out.clone(),
        references: HashMap::new(),
        held_pods: held.remove("pods").unwrap_or_default(),
        held_references,
        pending: Some(pending),
        tasks: JoinSet::new(),
    };
    tasks.spawn(pods.run(node));
    // Every sender is dropped once all of the first state has been sent.
    let _ = complete.recv().await;
    if out.send(Down::Synced(Synced {})).await.is_ok() {
        out.closed().await;
    }
    // Dropping the set ends every watch.
}

/// What one watch of a view selects.
#[derive(Clone)]
struct Selection {
    resource: GroupVersionResource,
    namespace: Option<String>,
    field_selector: String,
    /// Whether a view without it is worse than none: a proxy that knows no
    /// Service would take every rule away.
    required: bool,
}

impl Selection {
    fn all(resource: GroupVersionResource) -> Self {
        Self {
            resource,
            namespace: None,
            field_selector: String::new(),
            required: true,
        }
    }

    fn one((resource, key): &Reference) -> Self {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        Self {
            resource: resource.clone(),
            namespace: Some(namespace.to_owned()),
            field_selector: format!("metadata.name={name}"),
            required: false,
        }
    }

    fn params(&self) -> WatchParams {
        WatchParams {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            field_selector: self.field_selector.clone(),
            send_initial_events: true,
            bookmarks: true,
            ..WatchParams::default()
        }
    }
}

/// One change that a watch of the view brought.
enum Change {
    Upsert(Arc<Object>),
    Delete(String),
    /// The present state has been delivered.
    Complete,
}

/// Takes the changes of one selection, in order.
trait Listener: Send {
    /// Answers false when the node is gone.
    fn tell(&mut self, change: Change) -> impl Future<Output = bool> + Send;

    /// The selection may not be seen, at least for now: nobody waits for it.
    fn refused(&mut self) {}
}

/// Passes changes on as they are.
struct Direct {
    out: Out,
    resource: String,
    pending: Option<Pending>,
}

impl Listener for Direct {
    async fn tell(&mut self, change: Change) -> bool {
        match change {
            Change::Upsert(object) => send_upsert(&self.out, &self.resource, &object).await,
            Change::Delete(key) => send_delete(&self.out, &self.resource, key).await,
            Change::Complete => {
                self.pending = None;
                true
            }
        }
    }

    fn refused(&mut self) {
        self.pending = None;
    }
}

/// Follows one selection and tells the node about it.
struct Follower {
    api: Arc<dyn Api>,
    out: Out,
    selection: Selection,
    /// Key to version of what the node holds.
    held: HashMap<String, String>,
}

impl Follower {
    fn new(
        api: Arc<dyn Api>,
        out: Out,
        selection: Selection,
        held: HashMap<String, String>,
    ) -> Self {
        Self {
            api,
            out,
            selection,
            held,
        }
    }

    async fn run(self, pending: Pending) {
        let resource = self.selection.resource.resource.to_string();
        let mut teller = Direct {
            out: self.out.clone(),
            resource,
            pending: Some(pending),
        };
        self.follow(&mut teller).await;
    }

    /// Tells each change until the listener answers false. A broken watch is
    /// opened again from the present state; only differences are told.
    async fn follow(mut self, listener: &mut impl Listener) {
        let mut retry = RETRY_MIN;
        loop {
            match self.watch_once(listener).await {
                Ok(true) => retry = RETRY_MIN,
                Ok(false) => return,
                Err(status) => {
                    let resource = &self.selection.resource.resource;
                    tracing::debug!(%resource, %status, "a node's watch failed, will try again");
                    if !self.selection.required && matches!(status.code, 403 | 404) {
                        listener.refused();
                    }
                }
            }
            if self.out.is_closed() {
                return;
            }
            tokio::time::sleep(retry.mul_f64(rand::random_range(0.5..1.0))).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    /// `Ok(true)`: the watch ended and is worth opening again.
    async fn watch_once(&mut self, listener: &mut impl Listener) -> Result<bool, Status> {
        let mut events = self.api.watch(self.selection.params()).await?;
        let mut initial: Option<HashSet<String>> = Some(HashSet::new());
        while let Some(event) = events.next().await {
            let going_on = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let key = object.key();
                    if let Some(initial) = &mut initial {
                        initial.insert(key.clone());
                    }
                    let version = object.resource_version().to_owned();
                    let same = self
                        .held
                        .insert(key, version.clone())
                        .is_some_and(|held| held == version);
                    same || listener.tell(Change::Upsert(object)).await
                }
                WatchEvent::Deleted(object) => {
                    let key = object.key();
                    self.held.remove(&key).is_none() || listener.tell(Change::Delete(key)).await
                }
                WatchEvent::Bookmark {
                    initial_events_end: true,
                    ..
                } => {
                    self.drop_what_is_gone(initial.take().unwrap_or_default(), listener)
                        .await
                }
                WatchEvent::Bookmark { .. } => true,
            };
            if !going_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn drop_what_is_gone(
        &mut self,
        present: HashSet<String>,
        listener: &mut impl Listener,
    ) -> bool {
        let gone: Vec<String> = self
            .held
            .keys()
            .filter(|key| !present.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.held.remove(&key);
            if !listener.tell(Change::Delete(key)).await {
                return false;
            }
        }
        listener.tell(Change::Complete).await
    }
}

async fn send_upsert(out: &Out, resource: &str, object: &Object) -> bool {
    let upsert = Upsert {
        resource: resource.to_owned(),
        object: object.json(),
    };
    out.send(Down::Upsert(upsert)).await.is_ok()
}

async fn send_delete(out: &Out, resource: &str, key: String) -> bool {
    out.send(Down::Delete(Delete {
        resource: resource.to_owned(),
        key,
    }))
    .await
    .is_ok()
}

/// The pods of a node, and a watch for each object that they refer to.
struct PodFeed {
    api: Arc<dyn Api>,
    out: Out,
    /// Who refers to what, with the watch that follows it.
    references: HashMap<Reference, (HashSet<String>, AbortHandle)>,
    held_pods: HashMap<String, String>,
    /// What the node holds from before and no watch follows yet.
    held_references: HashMap<Reference, String>,
    pending: Option<Pending>,
    tasks: JoinSet<()>,
}

impl Listener for PodFeed {
    async fn tell(&mut self, change: Change) -> bool {
        match change {
            Change::Upsert(pod) => {
                let key = pod.key();
                self.refer(&key, references(&pod)).await;
                let held = self.held_pods.remove(&key);
                let same = held.is_some_and(|version| version == pod.resource_version());
                same || send_upsert(&self.out, "pods", &pod).await
            }
            Change::Delete(key) => {
                self.refer(&key, HashSet::new()).await;
                send_delete(&self.out, "pods", key).await
            }
            Change::Complete => self.complete().await,
        }
    }
}

impl PodFeed {
    async fn run(mut self, node: String) {
        let selection = Selection {
            resource: resources::PODS,
            namespace: None,
            field_selector: format!("spec.nodeName={node}"),
            required: true,
        };
        // The follower is told that the node holds nothing: what a known pod
        // refers to must be followed again, even if the pod itself is not sent.
        let follower = Follower::new(
            self.api.clone(),
            self.out.clone(),
            selection,
            HashMap::new(),
        );
        follower.follow(&mut self).await;
    }

    /// The pods are complete: what the node holds beyond them is gone.
    async fn complete(&mut self) -> bool {
        for key in std::mem::take(&mut self.held_pods).into_keys() {
            if !send_delete(&self.out, "pods", key).await {
                return false;
            }
        }
        for (resource, key) in std::mem::take(&mut self.held_references).into_keys() {
            if !send_delete(&self.out, &resource.resource, key).await {
                return false;
            }
        }
        self.pending = None;
        true
    }

    /// Notes what a pod refers to now; starts and ends watches accordingly.
    async fn refer(&mut self, pod: &str, now: HashSet<Reference>) {
        let before: Vec<Reference> = self
            .references
            .iter()
            .filter(|(reference, (pods, _))| pods.contains(pod) && !now.contains(*reference))
            .map(|(reference, _)| reference.clone())
            .collect();
        for reference in before {
            self.release(pod, &reference).await;
        }
        for reference in now {
            if let Some((pods, _)) = self.references.get_mut(&reference) {
                pods.insert(pod.to_owned());
                continue;
            }
            let held = self.held_references.remove(&reference);
            let held = held
                .map(|version| (reference.1.clone(), version))
                .into_iter()
                .collect();
            let follower = Follower::new(
                self.api.clone(),
                self.out.clone(),
                Selection::one(&reference),
                held,
            );
            // After the first state nobody waits: the channel's other end is gone.
            let pending = self.pending.clone().unwrap_or_else(|| mpsc::channel(1).0);
            let task = self.tasks.spawn(follower.run(pending));
            self.references
                .insert(reference, (HashSet::from([pod.to_owned()]), task));
        }
    }

    async fn release(&mut self, pod: &str, reference: &Reference) {
        let Some((pods, _)) = self.references.get_mut(reference) else {
            return;
        };
        pods.remove(pod);
        if pods.is_empty()
            && let Some((_, task)) = self.references.remove(reference)
        {
            task.abort();
            send_delete(&self.out, &reference.0.resource, reference.1.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use kontiki_client::{ApiRequest, ApiResponse, WatchStream};
    use parking_lot::Mutex;
    use serde_json::json;

    /// Has pods, nothing else, and shows no `ConfigMap` to anybody.
    struct Pods {
        pods: Vec<Arc<Object>>,
        refused: Mutex<Vec<String>>,
    }

    #[async_trait::async_trait]
    impl Api for Pods {
        async fn call(&self, _: ApiRequest) -> Result<ApiResponse, Status> {
            Err(Status::internal("only watches are served"))
        }

        async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
            if params.resource == resources::CONFIG_MAPS {
                self.refused.lock().push(params.field_selector);
                return Err(Status::forbidden("", "configmaps", "", "no relationship"));
            }
            let pods = match params.resource == resources::PODS {
                true => self.pods.clone(),
                false => Vec::new(),
            };
            let end = WatchEvent::Bookmark {
                resource_version: "9".to_owned(),
                initial_events_end: true,
            };
            let events = pods.into_iter().map(WatchEvent::Added).chain([end]).map(Ok);
            Ok(stream::iter(events).chain(stream::pending()).boxed())
        }
    }

    fn pod(name: &str, phase: &str) -> Arc<Object> {
        let tree = json!({
            "metadata": {"name": name, "namespace": "n", "resourceVersion": "7"},
            "spec": {"volumes": [{"configMap": {"name": format!("of-{name}")}}]},
            "status": {"phase": phase},
        });
        Arc::new(Object::from_value(tree).expect("a map"))
    }

    #[tokio::test]
    async fn a_view_is_complete_although_something_in_it_may_not_be_seen() {
        let api = Arc::new(Pods {
            pods: vec![
                pod("done", "Succeeded"),
                pod("failed", "Failed"),
                pod("runs", "Running"),
            ],
            refused: Mutex::default(),
        });
        let (out, mut told) = mpsc::channel(16);
        let feeding = tokio::spawn(feed(api.clone(), api.clone(), "n1".into(), Vec::new(), out));
        let mut pods = 0;
        loop {
            match told.recv().await.expect("the feed goes on") {
                Down::Synced(_) => break,
                Down::Upsert(_) => pods += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pods, 3);
        // What finished pods refer to is not even asked for.
        let mut refused = api.refused.lock().clone();
        refused.dedup();
        assert_eq!(refused, ["metadata.name=of-runs"]);
        feeding.abort();
    }
}

//! A small world for the controllers' tests: an API server in memory, paused
//! time, and optionally a kubelet that runs every pod at once.

use crate::controller::Context;
use crate::runner::Runner;
use crate::{Caches, Config, Executor, Moment, ServedResource, list};
use jiff::Timestamp;
use kontiki_client::testing::MemoryApi;
use kontiki_client::{
    Client, Clock, DeleteOptions, EventRecorder, PatchKind, QueueMetrics, resources,
};
use kontiki_object::{GroupVersionResource, SharedObject, Value, time};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const START: &str = "2026-01-02T03:04:05Z";

pub(crate) fn moment() -> Moment {
    Moment {
        now: START.parse().expect("a time"),
        last_error: None,
    }
}

pub(crate) struct Scenario {
    pub api: Arc<MemoryApi>,
    pub client: Client,
    pub clock: Clock,
    cancel: CancellationToken,
    _served: watch::Sender<Arc<[ServedResource]>>,
}

impl Drop for Scenario {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn served() -> Arc<[ServedResource]> {
    let resource = |resource: &GroupVersionResource, kind: &str, namespaced| ServedResource {
        resource: resource.clone(),
        kind: kind.into(),
        namespaced,
        watchable: true,
        deletable: true,
    };
    Arc::new([
        resource(&resources::PODS, "Pod", true),
        resource(&resources::CONFIG_MAPS, "ConfigMap", true),
        resource(&resources::SERVICE_ACCOUNTS, "ServiceAccount", true),
        resource(&resources::REPLICA_SETS, "ReplicaSet", true),
        resource(&resources::DEPLOYMENTS, "Deployment", true),
        resource(&resources::JOBS, "Job", true),
        resource(&resources::NODES, "Node", false),
        resource(&resources::NAMESPACES, "Namespace", false),
    ])
}

impl Scenario {
    pub async fn start(names: &[&str]) -> Self {
        Self::with(names, |_| {}).await
    }

    pub async fn with(names: &[&str], configure: impl FnOnce(&mut Config)) -> Self {
        let clock = Clock::following_tokio(START.parse().expect("a time"));
        let api = Arc::new(MemoryApi::new(clock.clone()));
        let client = Client::new(api.clone(), "test");
        let cancel = CancellationToken::new();
        let (sender, receiver) = watch::channel(served());
        let mut config = Config::new(receiver);
        configure(&mut config);
        let context = Context {
            caches: Arc::new(Caches::new(client.clone(), cancel.clone())),
            client: client.clone(),
            config: Arc::new(config),
            clock: clock.clone(),
        };
        let chosen = list::all()
            .into_iter()
            .filter(|c| names.contains(&c.name()));
        for controller in chosen {
            let executor = Executor::new(client.clone(), EventRecorder::disabled());
            let metrics = QueueMetrics::default();
            let runner = Runner::new(controller, context.clone(), executor, &metrics);
            tokio::spawn(runner.run(cancel.clone()));
        }
        Self {
            api,
            client,
            clock,
            cancel,
            _served: sender,
        }
    }

    pub async fn create(&self, resource: &GroupVersionResource, tree: Value) -> SharedObject {
        let namespace = tree["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.client
            .scoped(resource, &namespace)
            .create(tree)
            .await
            .expect("created")
    }

    pub async fn update(&self, resource: &GroupVersionResource, mut tree: Value) -> SharedObject {
        let field = |tree: &Value, name: &str| {
            tree["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (namespace, name) = (field(&tree, "namespace"), field(&tree, "name"));
        tree["metadata"]["resourceVersion"] = Value::Null;
        self.client
            .scoped(resource, &namespace)
            .update(&name, tree)
            .await
            .expect("updated")
    }

    pub async fn set_status(&self, resource: &GroupVersionResource, key: &str, status: Value) {
        let mut tree = self.get(resource, key).to_value();
        tree["status"] = status;
        let (namespace, name) = key.rsplit_once('/').unwrap_or(("", key));
        let target = self.client.scoped(resource, namespace);
        target.update_status(name, tree).await.expect("updated");
    }

    pub async fn delete(&self, resource: &GroupVersionResource, key: &str, options: DeleteOptions) {
        let (namespace, name) = key.rsplit_once('/').unwrap_or(("", key));
        self.client
            .scoped(resource, namespace)
            .delete(name, options)
            .await
            .expect("deleted");
    }

    pub fn get(&self, resource: &GroupVersionResource, key: &str) -> SharedObject {
        let found = self.api.object(resource, key);
        found.unwrap_or_else(|| panic!("no {key} among {}", resource.resource))
    }

    /// Waits for a condition. Time is paused and jumps when all are idle, so an
    /// hour passes at once; a condition that never holds fails then.
    pub async fn until(&self, condition: impl FnMut(&MemoryApi) -> bool) {
        let patience = Duration::from_secs(7200);
        let waited = tokio::time::timeout(patience, self.api.wait_until(condition)).await;
        waited.unwrap_or_else(|_| panic!("it never came about; writes: {:#?}", self.api.writes()));
    }

    pub async fn until_status(
        &self,
        resource: &GroupVersionResource,
        key: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) {
        self.until(|api| {
            let object = api.object(resource, key);
            object.is_some_and(|o| condition(o.get(&["status"]).unwrap_or(&Value::Null)))
        })
        .await;
    }

    /// Lets everything that is under way come to rest.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes every pod run (or end) as soon as it appears, and lets terminating
    /// ones go: a node without containers.
    pub fn run_pods(&self, phase: &'static str) {
        let (api, client, clock) = (self.api.clone(), self.client.clone(), self.clock.clone());
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            let mut serial = 0;
            while !cancel.is_cancelled() {
                for pod in api.objects(&resources::PODS) {
                    let pods = client.namespaced(&resources::PODS, pod.namespace());
                    if pod.is_terminating() {
                        let runs = pod.str_at(&["status", "phase"]) == Some("Running");
                        if runs {
                            let ended = json!({"status": {"phase": "Failed"}});
                            let patched = pods.patch_status(pod.name(), PatchKind::Merge, ended);
                            let _ = patched.await;
                        }
                        let now = DeleteOptions {
                            grace_period_seconds: Some(0),
                            ..DeleteOptions::default()
                        };
                        let _ = pods.delete(pod.name(), now).await;
                    } else if pod.get(&["status", "phase"]).is_none() {
                        serial += 1;
                        let status = run_status(phase, serial, clock.now());
                        if pod.str_at(&["spec", "nodeName"]).is_none() {
                            let bind = json!({"spec": {"nodeName": node_for(&pod)}});
                            let _ = pods.patch(pod.name(), PatchKind::Merge, bind).await;
                        }
                        let patch = json!({"status": status});
                        let _ = pods.patch_status(pod.name(), PatchKind::Merge, patch).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

/// The node that a daemon's pod asks for, or just any.
fn node_for(pod: &kontiki_object::Object) -> String {
    let tree = pod.to_value();
    let required =
        &tree["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let name = &required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
    name.as_str().unwrap_or("node-1").to_owned()
}

fn run_status(phase: &str, serial: u32, now: Timestamp) -> Value {
    let ready = if phase == "Running" { "True" } else { "False" };
    json!({
        "phase": phase, "podIP": format!("10.244.0.{serial}"),
        "podIPs": [{"ip": format!("10.244.0.{serial}")}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": time::format(now)}],
    })
}

use super::*;
use async_trait::async_trait;
use kontiki_client::testing::MemoryApi;
use kontiki_client::{Api, ApiRequest, ApiResponse, PatchKind, Verb, WatchParams, WatchStream};
use kontiki_object::{Object, Status};
use serde_json::{Value, json};

/// The test server, with the one rule that it lacks: a binding sets the node.
struct Server(Arc<MemoryApi>);

#[async_trait]
impl Api for Server {
    async fn call(&self, mut request: ApiRequest) -> Result<ApiResponse, Status> {
        if request.subresource.as_deref() == Some("binding") {
            let node = request.body.take().unwrap_or_default()["target"]["name"].take();
            request.verb = Verb::Patch(PatchKind::Merge);
            request.subresource = None;
            request.body = Some(json!({"spec": {"nodeName": node}}));
        }
        self.0.call(request).await
    }

    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
        self.0.watch(params).await
    }
}

struct Cluster {
    api: Arc<MemoryApi>,
    client: Client,
    cancel: CancellationToken,
}

impl Cluster {
    fn start() -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a time"));
        let api = Arc::new(MemoryApi::new(clock.clone()));
        let client = Client::new(Arc::new(Server(api.clone())), "test");
        let cancel = CancellationToken::new();
        let scheduler = Scheduler::new(
            client.clone(),
            Config::default(),
            Metrics::default(),
            clock,
            1,
            &cancel,
        );
        let leading = cancel.clone();
        tokio::spawn(async move { scheduler.lead(leading).await });
        Self {
            api,
            client,
            cancel,
        }
    }

    async fn node(&self, name: &str, cpu: &str) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
        });
        let nodes = self.client.resource(&resources::NODES);
        nodes.create(node).await.expect("created");
    }

    async fn pod(&self, name: &str, cpu: &str, priority: i32) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"priority": priority, "schedulerName": "default-scheduler",
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        });
        let pods = self.client.namespaced(&resources::PODS, "ns");
        pods.create(pod).await.expect("created");
    }

    async fn until(&self, pod: &str, condition: impl Fn(&Object) -> bool) {
        let key = format!("ns/{pod}");
        let met = self.api.wait_until(|api| {
            let found = api.object(&resources::PODS, &key);
            found.is_some_and(|found| condition(&found))
        });
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, met).await.expect("met in time");
    }
}

fn is_on(pod: &Object, node: &str) -> bool {
    pod.str_at(&["spec", "nodeName"]) == Some(node)
}

fn message(pod: &Object) -> Option<&str> {
    let conditions = pod.get(&["status", "conditions"])?.as_array()?;
    conditions.first()?.get("message").and_then(Value::as_str)
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_to_a_node_and_one_without_room_says_why_and_waits() {
    let cluster = Cluster::start();
    cluster.node("a", "1").await;
    cluster.pod("first", "800m", 0).await;
    cluster.until("first", |pod| is_on(pod, "a")).await;
    cluster.pod("second", "800m", 0).await;
    let why = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    cluster
        .until("second", |pod| message(pod) == Some(why))
        .await;
    cluster.node("b", "1").await;
    cluster.until("second", |pod| is_on(pod, "b")).await;
    cluster.cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn an_important_pod_takes_the_place_of_a_lesser_one() {
    let cluster = Cluster::start();
    cluster.node("a", "1").await;
    cluster.pod("lesser", "800m", 0).await;
    cluster.until("lesser", |pod| is_on(pod, "a")).await;
    cluster.pod("important", "800m", 100).await;
    let nominated = |pod: &Object| pod.str_at(&["status", "nominatedNodeName"]) == Some("a");
    cluster.until("important", nominated).await;
    cluster.until("lesser", Object::is_terminating).await;
    let pods = cluster.client.namespaced(&resources::PODS, "ns");
    let now = kontiki_client::DeleteOptions {
        grace_period_seconds: Some(0),
        ..kontiki_client::DeleteOptions::default()
    };
    pods.delete("lesser", now).await.expect("deleted");
    cluster.until("important", |pod| is_on(pod, "a")).await;
    cluster.cancel.cancel();
}

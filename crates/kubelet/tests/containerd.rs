//! Real pods on a real containerd, from an API server in memory.
//!
//! The test starts itself again in namespaces of its own (network, mounts,
//! processes), so that whatever happens nothing is left behind.

#[path = "containerd/rig.rs"]
mod rig;
#[path = "containerd/user.rs"]
mod user;

use kontiki_client::events::{EventShape, EventSource};
use kontiki_client::testing::MemoryApi;
use kontiki_client::{
    Client, Clock, DeleteOptions, EventRecorder, Informer, InformerConfig, PatchKind, resources,
};
use kontiki_kubelet::{Kubelet, KubeletConfig, LeaseHeartbeat};
use kontiki_nodelink::NodeView;
use kontiki_object::{GroupVersionResource, Value};
use rig::Rig;
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use user::User;

const INSIDE: &str = "KONTIKI_TEST_INSIDE";

/// Longer than anything takes here; the end of a hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn pods_live_and_die_on_a_real_runtime() {
    if let Some(missing) = rig::missing() {
        eprintln!(
            "SKIPPED: {missing} is not installed (apt-get install containerd runc containernetworking-plugins busybox-static iproute2)"
        );
        return;
    }
    let Ok(cgroup_root) = std::env::var(INSIDE) else {
        let cgroup_root = format!("/kontiki-test-{}", std::process::id());
        let status = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .arg(std::env::current_exe().expect("it runs"))
            .args([
                "--exact",
                "pods_live_and_die_on_a_real_runtime",
                "--nocapture",
            ])
            .env(INSIDE, &cgroup_root)
            .status()
            .expect("unshare can be started");
        rig::remove_cgroups(&cgroup_root);
        assert!(
            status.success(),
            "the test failed inside its namespaces; its output stands above"
        );
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let cluster = Cluster::start(cgroup_root).await;
        let outcome = tokio::time::timeout(PATIENCE, story(&cluster)).await;
        if outcome.is_err() {
            let pods: Vec<Value> = cluster
                .api
                .objects(&resources::PODS)
                .iter()
                .map(|pod| pod.to_value())
                .collect();
            panic!(
                "it hangs: {pods:#?}\n{:?}\n{}",
                cluster.events(),
                cluster.rig.log()
            );
        }
    });
}

struct Cluster {
    rig: Rig,
    api: Arc<MemoryApi>,
    client: Client,
    view: NodeView,
    cancel: CancellationToken,
}

impl Cluster {
    async fn start(cgroup_root: String) -> Self {
        let rig = Rig::start(cgroup_root);
        let api = Arc::new(MemoryApi::new(Clock::system()));
        let client = Client::new(api.clone(), "kubelet");
        let cancel = CancellationToken::new();
        let mut view = NodeView::new();
        for (resource, cache) in [
            (resources::PODS, &mut view.pods),
            (resources::CONFIG_MAPS, &mut view.config_maps),
            (resources::SECRETS, &mut view.secrets),
            (resources::SERVICES, &mut view.services),
            (resources::NODES, &mut view.nodes),
        ] {
            let informer = Informer::start(
                client.clone(),
                InformerConfig::all(resource),
                cancel.clone(),
            );
            informer.synced().await;
            *cache = informer.cache().clone();
        }
        view.set_synced();
        Self {
            rig,
            api,
            client,
            view,
            cancel,
        }
    }

    /// A kubelet that works until the token is cancelled.
    fn kubelet(&self) -> (Arc<Kubelet>, CancellationToken) {
        let mut config = KubeletConfig::new("node", "10.250.0.1".parse().expect("valid"));
        config.root_dir = self.rig.path("kubelet");
        config.log_dir = self.rig.path("logs");
        config.cri_socket = self.rig.path("containerd.sock");
        config.cgroup_root = self.rig.cgroup_root.clone();
        config.relist_period = Duration::from_millis(200);
        let cancel = self.cancel.child_token();
        let source = EventSource::new("kubelet", "node", EventShape::Core);
        let recorder =
            EventRecorder::start(self.client.clone(), source, Clock::system(), cancel.clone());
        let heartbeat = Arc::new(LeaseHeartbeat::new(self.client.clone(), Clock::system()));
        let kubelet = Arc::new(Kubelet::new(
            config,
            self.client.clone(),
            self.view.clone(),
            recorder,
            heartbeat,
        ));
        tokio::spawn(kubelet.clone().run(cancel.clone()));
        (kubelet, cancel)
    }

    async fn create(&self, resource: &GroupVersionResource, object: Value) {
        self.client
            .namespaced(resource, "default")
            .create(object)
            .await
            .expect("created");
    }

    fn pod(&self, name: &str) -> Value {
        let pod = self
            .api
            .object(&resources::PODS, &format!("default/{name}"));
        pod.map(|pod| pod.to_value()).unwrap_or_default()
    }

    async fn until(&self, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.api.wait_until(|_| condition(&self.pod(name))).await;
        self.pod(name)
    }

    fn events(&self) -> Vec<String> {
        let events = self.api.objects(&resources::EVENTS);
        let shown = events.iter().map(|event| {
            let text = |path: &[&str]| event.str_at(path).unwrap_or_default().to_owned();
            format!(
                "{}: {} {}",
                text(&["involvedObject", "name"]),
                text(&["reason"]),
                text(&["message"])
            )
        });
        shown.collect()
    }

    async fn until_event(&self, start: &str) {
        self.api
            .wait_until(|_| self.events().iter().any(|event| event.starts_with(start)))
            .await;
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn web() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "nodeName": "node",
            "terminationGracePeriodSeconds": 20,
            "initContainers": [{
                "name": "prepare", "image": "localhost/busybox:1",
                "command": ["sh", "-c", "echo welcome > /work/index.html"],
                "volumeMounts": [{"name": "work", "mountPath": "/work"}],
            }],
            "containers": [
                {
                    "name": "server", "image": "localhost/busybox:1",
                    "command": ["httpd", "-f", "-p", "8080", "-h", "/work"],
                    "volumeMounts": [{"name": "work", "mountPath": "/work", "readOnly": true}],
                    "readinessProbe": {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1},
                    "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m"}},
                },
                {
                    "name": "echo", "image": "localhost/busybox:1",
                    "command": ["sh", "-c", "echo $(GREETING) $SECRET on $NODE; cat /etc/secret/key; echo; trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done"],
                    "env": [
                        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}}},
                        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "volumeMounts": [
                        {"name": "settings", "mountPath": "/etc/settings"},
                        {"name": "keys", "mountPath": "/etc/secret"},
                    ],
                },
            ],
            "volumes": [
                {"name": "work", "emptyDir": {"medium": "Memory"}},
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "secret": {"secretName": "keys"}},
            ],
        },
    })
}

async fn story(cluster: &Cluster) {
    let (kubelet, stop) = cluster.kubelet();
    let settings = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": {"greeting": text}});
    cluster
        .create(&resources::CONFIG_MAPS, settings("hello"))
        .await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": {"key": "aHVzaA=="}});
    cluster.create(&resources::SECRETS, secret).await;
    cluster.create(&resources::PODS, web()).await;
    let pod = cluster.until("web", is_ready).await;
    eprintln!("web is ready");
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(
        pod["status"]["podIP"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("10.250.0.")),
        "{pod:#}"
    );
    assert_eq!(
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    assert_eq!(pod["status"]["qosClass"], "Burstable");

    let user = User::new(kubelet.router());
    // A running container has begun to write, but maybe not ended.
    let written = (200, "hello hush on node\nhush\n".to_owned());
    while user.get("/containerLogs/default/web/echo").await != written {}
    assert_eq!(
        user.get("/containerLogs/default/web/echo?tailLines=1")
            .await
            .1,
        "hush\n"
    );
    assert_eq!(user.get("/containerLogs/default/web/none").await.0, 400);
    let (output, status) = user
        .exec("web", "server", &["cat", "/work/index.html"], "")
        .await;
    assert_eq!(
        (output.as_str(), &status["status"]),
        ("welcome\n", &json!("Success"))
    );
    let (output, _) = user.exec("web", "echo", &["cat"], "typed in").await;
    assert_eq!(output, "typed in");
    let (_, status) = user.exec("web", "echo", &["sh", "-c", "exit 7"], "").await;
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    let page = user
        .forward("web", 8080, "GET /index.html HTTP/1.0\r\n\r\n")
        .await;
    assert!(
        page.starts_with("HTTP/1.") && page.ends_with("welcome\n"),
        "{page}"
    );
    eprintln!("logs, exec and port-forward work");

    volumes_follow_their_sources(cluster, &user, settings("good day")).await;
    let (kubelet, stop) = containers_outlive_the_kubelet(cluster, kubelet, stop, &pod).await;
    failures_are_told(cluster, &User::new(kubelet.router())).await;
    a_deleted_pod_ends_gracefully(cluster).await;
    cluster
        .api
        .wait_until(|api| api.object(&resources::NODES, "node").is_some())
        .await;
    cluster.until_event("web: Started Container started").await;
    cluster
        .until_event("web: Killing Stopping container echo")
        .await;
    stop.cancel();
}

async fn volumes_follow_their_sources(cluster: &Cluster, user: &User, settings: Value) {
    cluster
        .client
        .namespaced(&resources::CONFIG_MAPS, "default")
        .update("settings", settings)
        .await
        .expect("updated");
    while user
        .exec("web", "echo", &["cat", "/etc/settings/greeting"], "")
        .await
        .0
        != "good day"
    {}
    eprintln!("a volume followed its source");
}

async fn containers_outlive_the_kubelet(
    cluster: &Cluster,
    kubelet: Arc<Kubelet>,
    stop: CancellationToken,
    before: &Value,
) -> (Arc<Kubelet>, CancellationToken) {
    stop.cancel();
    drop(kubelet);
    let (kubelet, stop) = cluster.kubelet();
    let user = User::new(kubelet.router());
    let (output, _) = user.exec("web", "echo", &["echo", "alive"], "").await;
    assert_eq!(output, "alive\n");
    // The new kubelet has looked once it has seen the change.
    let patch = json!({"metadata": {"annotations": {"touched": "yes"}}});
    cluster
        .client
        .namespaced(&resources::PODS, "default")
        .patch("web", PatchKind::Merge, patch)
        .await
        .expect("patched");
    let after = cluster.until("web", is_ready).await;
    for index in 0..2 {
        let id = |pod: &Value| pod["status"]["containerStatuses"][index]["containerID"].clone();
        assert_eq!(id(before), id(&after), "a running container is adopted");
    }
    eprintln!("containers outlived the kubelet");
    (kubelet, stop)
}

async fn failures_are_told(cluster: &Cluster, user: &User) {
    let pod = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    let crash = json!({"nodeName": "node", "containers": [{"name": "c", "image": "localhost/busybox:1", "command": ["sh", "-c", "echo attempt; echo why > /dev/termination-log; exit 3"]}]});
    cluster.create(&resources::PODS, pod("crash", crash)).await;
    let absent = json!({"nodeName": "node", "containers": [{"name": "c", "image": "localhost/none:1", "imagePullPolicy": "Never"}]});
    cluster
        .create(&resources::PODS, pod("absent", absent))
        .await;
    let job = json!({"nodeName": "node", "restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/busybox:1", "command": ["true"]}]});
    cluster.create(&resources::PODS, pod("job", job)).await;
    let waiting =
        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    let crash = cluster
        .until("crash", |pod| waiting(pod) == "CrashLoopBackOff")
        .await;
    let status = &crash["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(status["lastState"]["terminated"]["message"], "why\n");
    assert_eq!(
        user.get("/containerLogs/default/crash/c?previous=true")
            .await,
        (200, "attempt\n".to_owned())
    );
    cluster
        .until_event("crash: BackOff Back-off restarting failed container c in pod crash_default(")
        .await;
    cluster
        .until("absent", |pod| waiting(pod) == "ErrImageNeverPull")
        .await;
    let job = cluster
        .until("job", |pod| pod["status"]["phase"] == "Succeeded")
        .await;
    assert_eq!(
        job["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        0
    );
    eprintln!("failures are told");
}

async fn a_deleted_pod_ends_gracefully(cluster: &Cluster) {
    let uid = cluster.pod("web")["metadata"]["uid"]
        .as_str()
        .expect("set")
        .to_owned();
    for name in ["web", "crash", "absent", "job"] {
        let options = DeleteOptions {
            grace_period_seconds: Some(3),
            ..DeleteOptions::default()
        };
        cluster
            .client
            .namespaced(&resources::PODS, "default")
            .delete(name, options)
            .await
            .expect("accepted");
    }
    cluster
        .api
        .wait_until(|api| api.objects(&resources::PODS).is_empty())
        .await;
    assert!(!cluster.rig.path("kubelet").join("pods").join(&uid).exists());
    let writes = cluster.api.writes();
    let last = writes
        .iter()
        .rposition(|write| write == "patch pods/status default/web")
        .expect("its end was told");
    let deleted = writes
        .iter()
        .rposition(|write| write == "delete pods default/web")
        .expect("it was deleted");
    assert!(last < deleted, "the last status comes before the end");
    eprintln!("pods ended gracefully");
}

//! Every controller at work against an API server with the default policy, under
//! the identities that a server gives them.

use super::*;
use crate::server::access::Access;
use kontiki_apiserver::cache::CacheLimits;
use kontiki_apiserver::{Config as ApiConfig, NoNodes};
use kontiki_auth::user::{MASTERS, NODES as NODES_GROUP};
use kontiki_auth::{Attributes, Authorizer, Decision};
use kontiki_client::resources::{
    CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, ENDPOINTS,
    JOBS, LEASES, NAMESPACES, NODES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS,
    REPLICATION_CONTROLLERS, RESOURCE_QUOTAS, SECRETS, SERVICE_ACCOUNTS, SERVICES, STATEFUL_SETS,
};
use kontiki_client::{DeleteOptions, Informer, InformerConfig, PatchKind, ResourceClient};
use kontiki_mvcc::LocalStore;
use kontiki_object::SharedObject;
use kontiki_pki::{ClusterSecrets, PrivateKey, Profile};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Notify;

const ISSUER: &str = "https://kubernetes.default.svc";
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the scenario plays.
const NAMESPACE: &str = "work";
const ACCOUNT: &str = "system:serviceaccount:kube-system:";

/// Writes that each account has to have been allowed when all is done.
const WORK: &[(&str, &[&str])] = &[
    ("service-account-controller", &["create serviceaccounts"]),
    (
        "root-ca-cert-publisher",
        &["create configmaps", "update configmaps"],
    ),
    (
        "namespace-controller",
        &[
            "deletecollection configmaps",
            "update namespaces/finalize",
            "update namespaces/status",
        ],
    ),
    (
        "node-controller",
        &[
            "create events",
            "delete pods",
            "patch nodes",
            "patch nodes/status",
            "patch pods/status",
        ],
    ),
    (
        "generic-garbage-collector",
        &[
            "delete pods",
            "get configmaps",
            "patch configmaps",
            "patch jobs",
        ],
    ),
    (
        "job-controller",
        &[
            "create events",
            "create pods",
            "delete pods",
            "patch pods",
            "update jobs/status",
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "create controllerrevisions",
            "create pods",
            "update daemonsets/status",
        ],
    ),
    (
        "statefulset-controller",
        &[
            "create controllerrevisions",
            "create persistentvolumeclaims",
            "create pods",
            "update statefulsets/status",
        ],
    ),
    (
        "cronjob-controller",
        &["create events", "create jobs", "update cronjobs/status"],
    ),
    ("ttl-after-finished-controller", &["delete jobs"]),
    (
        "pod-garbage-collector",
        &["delete pods", "get nodes", "patch pods/status"],
    ),
    (
        "disruption-controller",
        &["update poddisruptionbudgets/status"],
    ),
    (
        "resourcequota-controller",
        &["update resourcequotas/status"],
    ),
    (
        "certificate-controller",
        &[
            "delete certificatesigningrequests",
            "update certificatesigningrequests/approval",
            "update certificatesigningrequests/status",
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &["update clusterroles"],
    ),
    ("token-cleaner", &["delete secrets"]),
    (
        "endpoint-controller",
        &["create endpoints", "update endpoints"],
    ),
    (
        "endpointslice-controller",
        &["create endpointslices", "update endpointslices"],
    ),
    (
        "deployment-controller",
        &[
            "create events",
            "create replicasets",
            "update deployments/status",
            "update replicasets",
        ],
    ),
    (
        "replicaset-controller",
        &[
            "create events",
            "create pods",
            "delete pods",
            "get replicasets",
            "patch pods",
            "update replicasets/status",
        ],
    ),
    (
        "replication-controller",
        &["create pods", "update replicationcontrollers/status"],
    ),
];

/// Decides as a server does, and remembers what it decided about the manager
/// and its controllers.
struct Recorder {
    inner: Arc<dyn Authorizer>,
    allowed: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
    decided: Notify,
}

fn deed(user: &str, verb: &str, resource: &str) -> String {
    format!("{user} {verb} {resource}")
}

#[async_trait]
impl Authorizer for Recorder {
    async fn authorize(&self, asked: &Attributes) -> Decision {
        let decision = self.inner.authorize(asked).await;
        let user = &asked.user.name;
        // Asked first for whoever may block any owner's deletion; a "no" only
        // means that the owners are asked about one by one.
        let is_shortcut = asked.combined_resource() == "*/finalizers";
        if !is_shortcut && (user.starts_with(ACCOUNT) || user == CONTROLLER_MANAGER) {
            let set = match decision.is_allowed() {
                true => &self.allowed,
                false => &self.refused,
            };
            set.lock()
                .insert(deed(user, &asked.verb, &asked.combined_resource()));
            self.decided.notify_waiters();
        }
        decision
    }
}

struct World {
    api: ApiServer,
    admin: Client,
    recorder: Arc<Recorder>,
    /// By how many hours the controllers' clock runs ahead.
    hours_ahead: Arc<AtomicI64>,
    cancel: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl World {
    async fn start() -> Self {
        let secrets = ClusterSecrets::create(jiff::Timestamp::now()).expect("random numbers");
        let access = Access::new(&secrets, ISSUER).expect("keys that were made just now");
        let recorder = Arc::new(Recorder {
            inner: access.authorizer.clone(),
            allowed: Mutex::default(),
            refused: Mutex::default(),
            decided: Notify::new(),
        });
        let api = ApiServer::new(
            ApiConfig {
                store: LocalStore::in_memory(),
                authenticator: access.authenticator.clone(),
                authorizer: recorder.clone(),
                rbac: access.rbac.clone(),
                token_issuer: access.issuer.clone(),
                token_keys: access.keys.clone(),
                api_audiences: access.bearer.audiences().to_vec(),
                dialer: Arc::new(NoNodes),
                service_cidr: "10.96.0.0/12".parse().expect("a net"),
                node_ports: 30_000..=32_767,
                advertise_address: "127.0.0.1:6443".parse().expect("an address"),
                client_ca_pem: String::new(),
                identity: "test".to_owned(),
                version: "0".to_owned(),
                cache: CacheLimits::default(),
                max_requests_inflight: 400,
                admission: Default::default(),
                max_mutating_requests_inflight: 200,
                request_timeout: Duration::from_secs(60),
            },
            Arc::default(),
        );
        let cancel = CancellationToken::new();
        let (feed, first, stop) = (api.clone(), api.clone(), cancel.clone());
        tokio::spawn(async move { feed.run(stop).await });
        let stop = cancel.clone();
        tokio::spawn(async move { first.bootstrap(stop).await });
        let admin = Client::new(api.api(UserInfo::new("admin", &[MASTERS])), "test");
        access.follow(&admin, &cancel);
        let world = Self {
            api,
            admin,
            recorder,
            hours_ahead: Arc::default(),
            cancel,
        };
        world.policy_is_in_force(&access).await;
        world.run_controllers(&secrets);
        world
    }

    /// Waits until every account has its role.
    async fn policy_is_in_force(&self, access: &Access) {
        tokio::time::timeout(PATIENCE, async {
            let lacks = |account: &&str| {
                // Without groups: just what is given to this account.
                let user = UserInfo::new(format!("{ACCOUNT}{account}"), &[]);
                let policy = access.rbac.policy();
                policy.rules_for(&user, SYSTEM_NAMESPACE).is_empty()
            };
            while WORK.iter().any(|(account, _)| lacks(account)) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the policy comes into force");
    }

    fn run_controllers(&self, secrets: &ClusterSecrets) {
        let hours = self.hours_ahead.clone();
        let clock = Clock::reading(move || {
            jiff::Timestamp::now() + SignedDuration::from_hours(hours.load(Ordering::Relaxed))
        });
        let mut tasks = JoinSet::new();
        let resources = served_resources(&self.api, &mut tasks, &self.cancel);
        tasks.detach_all();
        let config = kontiki_controllers::Config {
            root_ca_pem: "PEM".to_owned(),
            signer: Some(Arc::new(CertificateSigner(secrets.cluster.clone()))),
            node_monitor_grace_period: Duration::from_secs(1),
            ..kontiki_controllers::Config::new(resources)
        };
        let manager = ControllerManager::new(
            manager_client(&self.api),
            account_clients(&self.api),
            config,
            "test",
            clock,
            QueueMetrics::default(),
            self.cancel.clone(),
        );
        let term = self.cancel.clone();
        tokio::spawn(async move { manager.run(term).await });
    }

    /// Waits until everything of a list was done by a controller, or tells what was not.
    async fn done(&self, wanted: impl Fn(&str, &str) -> bool) {
        let missing = || -> Vec<String> {
            let allowed = self.recorder.allowed.lock();
            WORK.iter()
                .flat_map(|(account, deeds)| deeds.iter().map(move |deed| (*account, *deed)))
                .filter(|(account, deed)| wanted(account, deed))
                .map(|(account, deed)| format!("{ACCOUNT}{account} {deed}"))
                .filter(|deed| !allowed.contains(deed))
                .collect()
        };
        let all = async {
            loop {
                let next = self.recorder.decided.notified();
                if missing().is_empty() {
                    return;
                }
                next.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            let refused = self.recorder.refused.lock().clone();
            panic!("not done: {:#?}, refused: {refused:#?}", missing());
        }
    }

    fn cluster(&self, group: &'static str, resource: &'static str) -> ResourceClient {
        let resource = GroupVersionResource::new(group, "v1", resource);
        self.admin.resource(&resource)
    }

    fn within(&self, group: &'static str, resource: &'static str) -> ResourceClient {
        let resource = GroupVersionResource::new(group, "v1", resource);
        self.admin.namespaced(&resource, NAMESPACE)
    }

    /// Creates an object in the tests' namespace, or of the cluster.
    async fn make(&self, resource: &GroupVersionResource, object: Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let scoped = self.admin.scoped(resource, namespace);
        if let Err(status) = scoped.create(object.clone()).await {
            panic!("{status}: {object}");
        }
    }

    /// Waits until the objects of a resource are as wanted.
    async fn until(
        &self,
        resource: &GroupVersionResource,
        wanted: impl Fn(&[SharedObject]) -> bool,
    ) {
        let informer = Informer::start(
            self.admin.clone(),
            InformerConfig::all(resource.clone()),
            self.cancel.clone(),
        );
        let mut changes = informer.cache().subscribe();
        let seen = async {
            while !wanted(&informer.cache().list()) {
                changes.recv().await.expect("the informer runs");
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            let refused = self.recorder.refused.lock().clone();
            let there = informer.cache().list();
            panic!("not as wanted: {there:#?}, refused: {refused:#?}");
        }
    }
}

fn named(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE})
}

/// A pod's template, labelled `app: APP`.
fn template(app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "image"}]},
    })
}

/// The spec of a workload of such pods.
fn workload(app: &str) -> Value {
    json!({
        "replicas": 2, "selector": {"matchLabels": {"app": app}}, "template": template(app),
    })
}

fn pod_on(node: &str, name: &str) -> Value {
    json!({
        "metadata": named(name),
        "spec": {
            "nodeName": node, "containers": [{"name": "c", "image": "image"}],
        },
    })
}

fn ready() -> Value {
    json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

impl World {
    async fn workloads(&self) {
        let orphan = json!({
            "metadata": {"name": "orphan", "namespace": NAMESPACE, "labels": {"app": "alone"}},
            "spec": template("alone")["spec"],
        });
        self.make(&PODS, orphan).await;
        for (resource, app) in [(&DEPLOYMENTS, "web"), (&REPLICA_SETS, "alone")] {
            let object = json!({"metadata": named(app), "spec": workload(app)});
            self.make(resource, object).await;
        }
        let mut spec = workload("old");
        spec["selector"] = json!({"app": "old"});
        let object = json!({"metadata": named("old"), "spec": spec});
        self.make(&REPLICATION_CONTROLLERS, object).await;
        let mut spec = workload("state");
        spec["serviceName"] = "state".into();
        spec["volumeClaimTemplates"] = json!([{
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }]);
        let object = json!({"metadata": named("state"), "spec": spec});
        self.make(&STATEFUL_SETS, object).await;
        let mut spec = workload("daemon");
        spec.as_object_mut().expect("a map").remove("replicas");
        let object = json!({"metadata": named("daemon"), "spec": spec});
        self.make(&DAEMON_SETS, object).await;
        self.until(&REPLICA_SETS, |sets| {
            sets.iter().any(|set| {
                set.name().starts_with("web-")
                    && set.get(&["status", "replicas"]) == Some(&json!(2))
            })
        })
        .await;
        let fewer = json!({"spec": {"replicas": 1}});
        let deployments = self.within("apps", "deployments");
        let patched = deployments.patch("web", PatchKind::Merge, fewer).await;
        patched.expect("it is scaled down");
    }

    async fn jobs(&self) {
        let mut once = template("once");
        once["spec"]["restartPolicy"] = "Never".into();
        let spec = json!({"ttlSecondsAfterFinished": 0, "template": once});
        for name in ["once", "stopped"] {
            let object = json!({"metadata": named(name), "spec": spec});
            self.make(&JOBS, object).await;
        }
        let cron = json!({
            "metadata": named("hourly"),
            "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": spec}},
        });
        self.make(&CRON_JOBS, cron).await;
        let of = |job: &str, pods: &[SharedObject]| {
            let own = |pod: &&SharedObject| pod.label("job-name") == Some(job);
            pods.iter().find(own).map(|pod| pod.name().to_owned())
        };
        self.until(&PODS, |pods| {
            of("once", pods).is_some() && of("stopped", pods).is_some()
        })
        .await;
        let pods = self.within("", "pods");
        let (all, _) = pods.list(Default::default()).await.expect("pods");
        let name = of("once", &all).expect("it was there just now");
        let ended = json!({"status": {"phase": "Succeeded"}});
        let patched = pods.patch_status(&name, PatchKind::Merge, ended).await;
        patched.expect("the pod ended");
        let suspended = json!({"spec": {"suspend": true}});
        let jobs = self.within("batch", "jobs");
        let patched = jobs.patch("stopped", PatchKind::Merge, suspended).await;
        patched.expect("the job is suspended");
    }

    async fn services(&self) {
        let object = json!({
            "metadata": named("web"),
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        self.make(&SERVICES, object).await;
        let object = json!({
            "metadata": named("web"),
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        });
        self.make(&POD_DISRUPTION_BUDGETS, object).await;
        let object = json!({
            "metadata": named("quota"), "spec": {"hard": {"count/configmaps": "100"}},
        });
        self.make(&RESOURCE_QUOTAS, object).await;
        // Endpoints are there first, and change when the pod that stays gets an
        // address.
        self.until(&ENDPOINTS, |all| {
            all.iter().any(|own| own.key() == "work/web")
        })
        .await;
        let of_web = |pod: &&SharedObject| pod.label("app") == Some("web");
        self.until(&PODS, |pods| pods.iter().filter(of_web).count() == 1)
            .await;
        let pods = self.within("", "pods");
        let (all, _) = pods.list(Default::default()).await.expect("pods");
        let web = all.iter().find(of_web);
        let web = web.expect("the deployment runs").name().to_owned();
        let runs = json!({"status": {
            "phase": "Running", "podIP": "10.1.1.1", "podIPs": [{"ip": "10.1.1.1"}],
            "conditions": [ready()],
        }});
        let patched = pods.patch_status(&web, PatchKind::Merge, runs).await;
        patched.expect("the pod runs");
    }

    async fn nodes(&self) {
        for (node, name) in [("silent", "evicted"), ("ghost", "lost")] {
            self.make(&PODS, pod_on(node, name)).await;
            let runs = json!({"status": {"phase": "Running", "conditions": [ready()]}});
            let pods = self.within("", "pods");
            let patched = pods.patch_status(name, PatchKind::Merge, runs).await;
            patched.expect("the pod runs");
        }
        for name in ["silent", "one", "two"] {
            if name != "silent" {
                let lease = json!({
                    "metadata": {"name": name, "namespace": "kube-node-lease"},
                    "spec": {
                        "holderIdentity": name, "leaseDurationSeconds": 40,
                        "renewTime": "2999-01-01T00:00:00.000000Z",
                    },
                });
                self.make(&LEASES, lease).await;
            }
            let mut node = json!({
                "metadata": {"name": name}, "status": {"conditions": [ready()]},
            });
            if name == "silent" {
                node["spec"]["taints"] =
                    json!([{"key": "example.com/evacuate", "effect": "NoExecute"}]);
            }
            self.make(&NODES, node).await;
        }
    }

    /// What belongs to nobody any more, or is too old.
    async fn garbage(&self) {
        let keeper = json!({"metadata": named("keeper")});
        self.make(&CONFIG_MAPS, keeper).await;
        let maps = self.within("", "configmaps");
        let keeper = maps.get("keeper").await.expect("it was made just now");
        let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
        let mut kept = json!({"metadata": named("kept")});
        kept["metadata"]["ownerReferences"] =
            json!([owner("keeper", keeper.uid()), owner("gone", "no-such-uid")]);
        self.make(&CONFIG_MAPS, kept).await;
        let token = json!({
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": SYSTEM_NAMESPACE},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": "abcdef", "token-secret": "0123456789abcdef",
                "expiration": "2026-01-01T00:00:00Z",
            },
        });
        self.make(&SECRETS, token).await;
        let doomed = json!({"metadata": {"name": "doomed"}});
        self.make(&NAMESPACES, doomed).await;
        let map = json!({"metadata": {"name": "m", "namespace": "doomed"}});
        self.make(&CONFIG_MAPS, map).await;
        let deleted = self
            .cluster("", "namespaces")
            .delete("doomed", DeleteOptions::default())
            .await;
        deleted.expect("the namespace ends");
    }

    /// A node asks for its certificate.
    async fn certificates(&self) {
        let node = UserInfo::new("system:node:one", &[NODES_GROUP, MASTERS]);
        let node = Client::new(self.api.api(node), "test");
        let key = PrivateKey::generate().expect("random numbers");
        let csr = CertificateRequest::create(&Profile::node_client("one"), &key);
        let csr = csr.expect("a key signs its own request");
        let object = json!({
            "metadata": {"name": "renewal"},
            "spec": {
                "request": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, csr),
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "client auth"],
            },
        });
        let requests = node.resource(&CERTIFICATE_SIGNING_REQUESTS);
        requests.create(object).await.expect("it is asked for");
    }

    /// Three hours pass; what waits for them looks again.
    async fn time_passes(&self) {
        self.hours_ahead.store(3, Ordering::Relaxed);
        let note = json!({"metadata": {"annotations": {"touched": "yes"}}});
        let requests = self.cluster("certificates.k8s.io", "certificatesigningrequests");
        for (resource, name) in [
            (requests, "renewal"),
            (self.within("batch", "cronjobs"), "hourly"),
            (self.within("", "pods"), "lost"),
        ] {
            let patched = resource.patch(name, PatchKind::Merge, note.clone()).await;
            patched.expect("it is there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_controller_may_do_its_work_as_its_own_account_and_needs_nothing_else() {
    let world = World::start().await;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    world.make(&NAMESPACES, namespace).await;
    world
        .until(&SERVICE_ACCOUNTS, |accounts| {
            accounts
                .iter()
                .any(|account| account.namespace() == NAMESPACE)
        })
        .await;
    world.workloads().await;
    world.jobs().await;
    world.services().await;
    world.nodes().await;
    world.garbage().await;
    world.certificates().await;
    world
        .until(&CONFIG_MAPS, |maps| {
            let bundle = |map: &SharedObject| map.key() == "work/kube-root-ca.crt";
            maps.iter().any(bundle)
        })
        .await;
    let forged = json!({"data": {"ca.crt": "forged"}});
    let maps = world.within("", "configmaps");
    let patched = maps.patch("kube-root-ca.crt", PatchKind::Merge, forged);
    patched.await.expect("it is there");
    let later = ["cronjob-controller", "pod-garbage-collector"];
    let is_later = |account: &str, deed: &str| {
        later.contains(&account) || deed == "delete certificatesigningrequests"
    };
    world.done(|account, deed| !is_later(account, deed)).await;
    world
        .done(|account, deed| account == "pod-garbage-collector" && deed == "get nodes")
        .await;
    world.time_passes().await;
    world.done(|_, _| true).await;
    assert_eq!(*world.recorder.refused.lock(), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_may_do_nothing_but_its_work() {
    let world = World::start().await;
    let may = async |account: &str, deed: [&str; 4]| {
        let user = match account {
            "" => UserInfo::new(CONTROLLER_MANAGER, &[]),
            account => UserInfo::service_account(SYSTEM_NAMESPACE, account, ""),
        };
        let [verb, group, resource, namespace] = deed.map(str::to_owned);
        let asked = Attributes {
            user: Arc::new(user.with_authenticated_group()),
            verb,
            group,
            version: "v1".to_owned(),
            resource,
            namespace,
            name: "x".to_owned(),
            is_resource: true,
            ..Attributes::default()
        };
        world.recorder.authorize(&asked).await.is_allowed()
    };
    let rbac = "rbac.authorization.k8s.io";
    for (account, deed, allowed) in [
        ("", ["list", "", "secrets", ""], true),
        ("", ["create", "", "pods", "work"], false),
        ("", ["delete", "", "pods", "work"], false),
        ("", ["patch", "", "nodes", ""], false),
        ("", ["update", "apps", "deployments", "work"], false),
        ("", ["escalate", rbac, "clusterroles", ""], false),
        ("", ["create", rbac, "clusterrolebindings", ""], false),
        ("", ["impersonate", "", "users", ""], false),
        (
            "",
            ["update", "coordination.k8s.io", "leases", "work"],
            false,
        ),
        (
            "deployment-controller",
            ["get", "", "secrets", "work"],
            false,
        ),
        (
            "deployment-controller",
            ["create", "", "pods", "work"],
            false,
        ),
        (
            "replicaset-controller",
            ["get", "", "secrets", "work"],
            false,
        ),
        ("replicaset-controller", ["create", "", "nodes", ""], false),
        ("job-controller", ["delete", "batch", "jobs", "work"], false),
        (
            "token-cleaner",
            ["delete", "", "secrets", "kube-system"],
            true,
        ),
        ("token-cleaner", ["delete", "", "secrets", "work"], false),
        (
            "generic-garbage-collector",
            ["create", "", "pods", "work"],
            false,
        ),
        (
            "namespace-controller",
            ["update", "", "pods", "work"],
            false,
        ),
        (
            "certificate-controller",
            ["get", "", "secrets", "work"],
            false,
        ),
        (
            "clusterrole-aggregation-controller",
            ["bind", rbac, "clusterroles", ""],
            false,
        ),
    ] {
        assert_eq!(may(account, deed).await, allowed, "{account:?} {deed:?}");
    }
    let own = account_clients(&world.api).client("deployment-controller");
    let refused = own.namespaced(&SECRETS, NAMESPACE).get("x").await;
    let refused = refused.expect_err("it has no business with secrets");
    assert_eq!(
        refused.message,
        "secrets \"x\" is forbidden: User \"system:serviceaccount:kube-system:deployment-controller\" cannot get resource \"secrets\" in API group \"\" in the namespace \"work\""
    );
}

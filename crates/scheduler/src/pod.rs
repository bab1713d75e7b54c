//! A pod as the scheduler sees it: parsed once.

use crate::resources::{Resources, pod_request};
use k8s_openapi::api::core::v1::{NodeSelector, Pod as Typed, PodSpec, Toleration};
use kontiki_object::{LabelSelector, SharedObject};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A port of the node that a pod wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` stands for all addresses.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == "0.0.0.0" || other.ip == "0.0.0.0")
    }
}

/// One affinity or anti-affinity term, ready to be matched.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    /// Which pods.
    pub selector: LabelSelector,
    /// In which namespaces; empty with `all_namespaces` unset means the pod's own.
    pub namespaces: Vec<String>,
    /// In every namespace.
    pub all_namespaces: bool,
    /// What counts as one place.
    pub topology_key: String,
    /// How much it weighs; 0 if it is required.
    pub weight: i64,
}

impl AffinityTerm {
    /// Whether the term means a pod.
    #[must_use]
    pub fn matches(&self, pod: &Pod) -> bool {
        (self.all_namespaces || self.namespaces.contains(&pod.namespace))
            && self
                .selector
                .matches_with(|key| pod.labels.get(key).map(String::as_str))
    }
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The object.
    pub object: SharedObject,
    /// The object, typed.
    pub typed: Arc<Typed>,
    /// `namespace/name`.
    pub key: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The UID of the controller whose replica it is, if that is one of those
    /// that keep alike pods running; empty if not.
    pub replica_of: String,
    /// The node it is on; empty if none.
    pub node: String,
    /// Its priority.
    pub priority: i32,
    /// What it asks for.
    pub request: Resources,
    /// The same, with something assumed for containers that ask for nothing:
    /// thousandths of CPU, and bytes of memory.
    pub assumed: (i64, i64),
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// Required affinity, required anti-affinity, and the preferred ones.
    pub affinity: [Vec<AffinityTerm>; 4],
}

/// Index into [`Pod::affinity`].
pub const REQUIRED_AFFINITY: usize = 0;
/// Index into [`Pod::affinity`].
pub const REQUIRED_ANTI_AFFINITY: usize = 1;
/// Index into [`Pod::affinity`].
pub const PREFERRED_AFFINITY: usize = 2;
/// Index into [`Pod::affinity`].
pub const PREFERRED_ANTI_AFFINITY: usize = 3;

impl Pod {
    /// Parses a pod.
    ///
    /// # Errors
    /// If the object does not have a pod's shape.
    pub fn parse(object: SharedObject) -> Result<Arc<Self>, serde_json::Error> {
        let typed = object.typed::<Typed>()?;
        let empty = PodSpec::default();
        let spec = typed.spec.as_ref().unwrap_or(&empty);
        let assumed = pod_request(spec, true);
        let pod = Self {
            key: object.key(),
            namespace: object.namespace().to_owned(),
            uid: object.uid().to_owned(),
            labels: typed.metadata.labels.clone().unwrap_or_default(),
            replica_of: replica_of(&typed),
            node: spec.node_name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            request: pod_request(spec, false),
            assumed: (assumed.milli_cpu, assumed.memory),
            ports: host_ports(spec),
            affinity: affinity(spec, object.namespace()),
            typed: typed.clone(),
            object,
        };
        Ok(Arc::new(pod))
    }

    /// The spec.
    #[must_use]
    pub fn spec(&self) -> Option<&PodSpec> {
        self.typed.spec.as_ref()
    }

    /// The same pod, on a node.
    #[must_use]
    pub fn on(&self, node: &str) -> Arc<Self> {
        Arc::new(Self {
            node: node.to_owned(),
            ..self.clone()
        })
    }

    /// The name of the scheduler that is responsible.
    #[must_use]
    pub fn scheduler_name(&self) -> &str {
        let name = self.spec().and_then(|spec| spec.scheduler_name.as_deref());
        name.unwrap_or("default-scheduler")
    }

    /// Whether it has ended and needs nothing any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let phase = self.typed.status.as_ref().and_then(|s| s.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// Its tolerations.
    #[must_use]
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec()
            .and_then(|spec| spec.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// The required node affinity.
    #[must_use]
    pub fn required_node_affinity(&self) -> Option<&NodeSelector> {
        let affinity = self.spec()?.affinity.as_ref()?.node_affinity.as_ref()?;
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    }
}

/// Pods of a `Job` or `DaemonSet` are placed for other reasons than to survive
/// the loss of a node, so they are nobody's replicas.
fn replica_of(pod: &Typed) -> String {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners
        .filter(|owner| owner.controller == Some(true))
        .find(|owner| {
            matches!(
                (&*owner.api_version, &*owner.kind),
                ("apps/v1", "ReplicaSet" | "StatefulSet") | ("v1", "ReplicationController")
            )
        })
        .map(|owner| owner.uid.clone())
        .unwrap_or_default()
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = Vec::new();
    for container in spec.containers.iter().chain(sidecars) {
        for port in container.ports.iter().flatten() {
            let Some(number) = port.host_port.filter(|number| *number > 0) else {
                continue;
            };
            let or = |text: &Option<String>, other: &str| match text.as_deref() {
                None | Some("") => other.to_owned(),
                Some(text) => text.to_owned(),
            };
            ports.push(HostPort {
                ip: or(&port.host_ip, "0.0.0.0"),
                protocol: or(&port.protocol, "TCP"),
                port: number,
            });
        }
    }
    ports
}

fn affinity(spec: &PodSpec, own_namespace: &str) -> [Vec<AffinityTerm>; 4] {
    use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};
    let term = |term: &PodAffinityTerm, weight: i32| {
        let selector = match &term.label_selector {
            None => LabelSelector::nothing(),
            some => {
                let value = serde_json::to_value(some).unwrap_or_default();
                LabelSelector::from_field(Some(&value)).unwrap_or_else(|_| LabelSelector::nothing())
            }
        };
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(own_namespace.to_owned());
        }
        AffinityTerm {
            selector,
            namespaces,
            all_namespaces: term.namespace_selector.is_some(),
            topology_key: term.topology_key.clone(),
            weight: i64::from(weight),
        }
    };
    let required = |terms: &Option<Vec<PodAffinityTerm>>| -> Vec<AffinityTerm> {
        terms.iter().flatten().map(|one| term(one, 0)).collect()
    };
    let preferred = |terms: &Option<Vec<WeightedPodAffinityTerm>>| -> Vec<AffinityTerm> {
        let terms = terms.iter().flatten();
        terms
            .map(|one| term(&one.pod_affinity_term, one.weight))
            .collect()
    };
    let all = spec.affinity.clone().unwrap_or_default();
    let with = all.pod_affinity.unwrap_or_default();
    let against = all.pod_anti_affinity.unwrap_or_default();
    [
        required(&with.required_during_scheduling_ignored_during_execution),
        required(&against.required_during_scheduling_ignored_during_execution),
        preferred(&with.preferred_during_scheduling_ignored_during_execution),
        preferred(&against.preferred_during_scheduling_ignored_during_execution),
    ]
}

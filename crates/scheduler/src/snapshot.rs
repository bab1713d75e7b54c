//! What is known about the nodes, in columns: a plugin that looks at one fact
//! of all nodes reads one vector.

use crate::pod::{HostPort, Pod};
use crate::resources::Resources;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a node says about itself and seldom changes.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Sizes of the images it has, by every name they go by.
    pub images: BTreeMap<String, i64>,
}

impl NodeFacts {
    /// From the object.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let images = status.and_then(|status| status.images.as_ref());
        let mut sizes = BTreeMap::new();
        for image in images.into_iter().flatten() {
            for name in image.names.iter().flatten() {
                sizes.insert(name.clone(), image.size_bytes.unwrap_or_default());
            }
        }
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            images: sizes,
        }
    }
}

/// All nodes. The vectors have the same length and order; the order is not
/// stable across removals.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Names.
    pub names: Vec<Arc<str>>,
    /// What a node has for pods.
    pub allocatable: Vec<Resources>,
    /// What its pods ask for.
    pub requested: Vec<Resources>,
    /// The same with something assumed for containers that ask for nothing.
    pub assumed: Vec<(i64, i64)>,
    /// What it says about itself.
    pub facts: Vec<Arc<NodeFacts>>,
    /// The ports of the node that are taken.
    pub ports: Vec<Vec<HostPort>>,
    /// Its pods.
    pub pods: Vec<Vec<Arc<Pod>>>,
    index: HashMap<Arc<str>, usize>,
    /// How many replicas of a controller are on which node; those that are
    /// about to end do not count.
    replicas: HashMap<String, HashMap<Arc<str>, i64>>,
}

impl Snapshot {
    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where a node stands.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Takes in a node's state, keeping the pods that are on it.
    pub fn set_node(&mut self, name: &str, node: &Node) {
        let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        let allocatable = Resources::from_list(allocatable);
        let facts = Arc::new(NodeFacts::of(node));
        if let Some(at) = self.position(name) {
            self.allocatable[at] = allocatable;
            self.facts[at] = facts;
            return;
        }
        let name: Arc<str> = name.into();
        self.index.insert(name.clone(), self.names.len());
        self.names.push(name);
        self.allocatable.push(allocatable);
        self.requested.push(Resources::default());
        self.assumed.push((0, 0));
        self.facts.push(facts);
        self.ports.push(Vec::new());
        self.pods.push(Vec::new());
    }

    /// Forgets a node; answers the pods that were on it.
    pub fn remove_node(&mut self, name: &str) -> Vec<Arc<Pod>> {
        let Some(at) = self.index.remove(name) else {
            return Vec::new();
        };
        self.names.swap_remove(at);
        self.allocatable.swap_remove(at);
        self.requested.swap_remove(at);
        self.assumed.swap_remove(at);
        self.facts.swap_remove(at);
        self.ports.swap_remove(at);
        if let Some(moved) = self.names.get(at) {
            self.index.insert(moved.clone(), at);
        }
        let pods = self.pods.swap_remove(at);
        for pod in &pods {
            self.count_replica(pod, -1);
        }
        pods
    }

    /// The nodes on which a controller has replicas, and how many.
    pub fn replicas(&self, controller: &str) -> impl Iterator<Item = (usize, i64)> {
        let nodes = self.replicas.get(controller).into_iter().flatten();
        nodes.filter_map(|(name, count)| Some((self.position(name)?, *count)))
    }

    fn count_replica(&mut self, pod: &Pod, change: i64) {
        if pod.replica_of.is_empty() || pod.object.is_terminating() {
            return;
        }
        let nodes = self.replicas.entry(pod.replica_of.clone()).or_default();
        let count = nodes.entry(pod.node.as_str().into()).or_default();
        *count += change;
        if *count == 0 {
            nodes.remove(pod.node.as_str());
        }
        if nodes.is_empty() {
            self.replicas.remove(&pod.replica_of);
        }
    }

    /// Counts a pod on its node; `false` if the node is not known.
    pub fn add_pod(&mut self, pod: &Arc<Pod>) -> bool {
        let Some(at) = self.position(&pod.node) else {
            return false;
        };
        self.requested[at].add(&pod.request);
        self.assumed[at].0 += pod.assumed.0;
        self.assumed[at].1 += pod.assumed.1;
        self.ports[at].extend(pod.ports.iter().cloned());
        self.pods[at].push(pod.clone());
        self.count_replica(pod, 1);
        true
    }

    /// Takes a pod off its node.
    pub fn remove_pod(&mut self, pod: &Pod) {
        let Some(at) = self.position(&pod.node) else {
            return;
        };
        let Some(found) = self.pods[at].iter().position(|other| other.key == pod.key) else {
            return;
        };
        let counted = self.pods[at].swap_remove(found);
        self.count_replica(&counted, -1);
        self.requested[at].subtract(&counted.request);
        self.assumed[at].0 -= counted.assumed.0;
        self.assumed[at].1 -= counted.assumed.1;
        for port in &counted.ports {
            if let Some(taken) = self.ports[at].iter().position(|other| other == port) {
                self.ports[at].swap_remove(taken);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kontiki_object::Object;
    use serde_json::{Value, json};

    /// A pod for tests; `spec` may leave out everything.
    pub(crate) fn pod(name: &str, spec: Value) -> Arc<Pod> {
        labelled_pod(name, json!({}), spec)
    }

    pub(crate) fn labelled_pod(name: &str, labels: Value, mut spec: Value) -> Arc<Pod> {
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        let object = Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": labels}, "spec": spec,
        }));
        Pod::parse(Arc::new(object.expect("a map"))).expect("a pod")
    }

    /// A pod that asks for thousandths of CPU.
    pub(crate) fn asking(name: &str, milli: i64) -> Arc<Pod> {
        pod(
            name,
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{milli}m")}}}]}),
        )
    }

    /// A pod of a controller.
    pub(crate) fn replica(name: &str, kind: &str, mut spec: Value) -> Arc<Pod> {
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "owner", "controller": true});
        let object = Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": [owner]}, "spec": spec,
        }));
        Pod::parse(Arc::new(object.expect("a map"))).expect("a pod")
    }

    #[test]
    fn replicas_are_counted_where_they_are() {
        let mut all = snapshot(&[node(json!({}), json!({})), node(json!({}), json!({}))]);
        let on = |name: &str, node: &str| replica(name, "ReplicaSet", json!({})).on(node);
        let counts = |all: &Snapshot| {
            let mut counts: Vec<_> = all
                .replicas("owner")
                .map(|(at, count)| (all.names[at].to_string(), count))
                .collect();
            counts.sort();
            counts
        };
        for pod in [on("a", "n0"), on("b", "n1"), on("c", "n1")] {
            all.add_pod(&pod);
        }
        all.add_pod(&replica("d", "DaemonSet", json!({})).on("n0"));
        all.add_pod(&pod("e", json!({})).on("n0"));
        assert_eq!(counts(&all), [("n0".to_owned(), 1), ("n1".to_owned(), 2)]);
        all.remove_pod(&on("c", "n1"));
        all.remove_node("n0");
        assert_eq!(counts(&all), [("n1".to_owned(), 1)]);
        all.remove_pod(&on("b", "n1"));
        assert!(counts(&all).is_empty() && all.replicas.is_empty());
    }

    /// A node for tests with four CPUs, 8Gi of memory and ten pods.
    pub(crate) fn node(labels: Value, spec: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"labels": labels}, "spec": spec,
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
        }))
        .expect("a node")
    }

    /// A snapshot of nodes `n0`, `n1`, …
    pub(crate) fn snapshot(nodes: &[Node]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (index, node) in nodes.iter().enumerate() {
            snapshot.set_node(&format!("n{index}"), node);
        }
        snapshot
    }

    #[test]
    fn what_is_added_and_removed_leaves_nothing_behind() {
        let mut snapshot = snapshot(&[node(json!({}), json!({})), node(json!({}), json!({}))]);
        let a = asking("a", 500).on("n0");
        let b = asking("b", 300).on("n1");
        assert!(snapshot.add_pod(&a) && snapshot.add_pod(&b));
        assert!(!snapshot.add_pod(&asking("c", 1).on("unknown")));
        assert_eq!(snapshot.requested[1].milli_cpu, 300);
        assert_eq!(snapshot.remove_node("n0").len(), 1);
        assert_eq!(snapshot.position("n1"), Some(0));
        assert_eq!(snapshot.requested[0].milli_cpu, 300);
        snapshot.remove_pod(&b);
        assert_eq!(snapshot.requested[0], Resources::default());
        assert!(snapshot.pods[0].is_empty());
    }
}

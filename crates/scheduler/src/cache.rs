//! The scheduler's own view of the cluster: what the API server says, and the
//! pods that were assigned to a node a moment ago.

use crate::framework::NodeChange;
use crate::pod::Pod;
use crate::snapshot::{NodeFacts, Snapshot};
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an assignment counts after it was written, if the API server never
/// shows it (upstream's default is "for ever"; a lost watch heals here).
const ASSUMED_FOR: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
struct Assumed {
    pod: Arc<Pod>,
    expires: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    snapshot: Snapshot,
    /// Pods on nodes, as the API server shows them.
    placed: HashMap<String, Arc<Pod>>,
    assumed: HashMap<String, Assumed>,
    /// Pods on nodes that are not known (yet, or any more).
    homeless: HashMap<String, Vec<Arc<Pod>>>,
}

impl Cache {
    /// The nodes with all that counts on them.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether a pod is on a node, or on its way there.
    #[must_use]
    pub fn has_pod(&self, key: &str) -> bool {
        self.placed.contains_key(key) || self.assumed.contains_key(key)
    }

    /// Takes in a node; answers what changed, if anything that matters.
    pub fn set_node(&mut self, name: &str, node: &Node) -> Option<NodeChange> {
        let before = self.snapshot.position(name).map(|at| {
            let allocatable = self.snapshot.allocatable[at].clone();
            (allocatable, self.snapshot.facts[at].clone())
        });
        self.snapshot.set_node(name, node);
        let at = self.snapshot.position(name)?;
        let facts: &NodeFacts = &self.snapshot.facts[at];
        let change = match before {
            None => NodeChange {
                added: true,
                ..NodeChange::default()
            },
            Some((allocatable, old)) => NodeChange {
                added: false,
                allocatable: allocatable != self.snapshot.allocatable[at],
                labels: old.labels != facts.labels,
                taints: old.taints != facts.taints || old.unschedulable != facts.unschedulable,
            },
        };
        for pod in self.homeless.remove(name).unwrap_or_default() {
            self.snapshot.add_pod(&pod);
        }
        (change != NodeChange::default()).then_some(change)
    }

    /// Forgets a node; its pods wait for it to come back.
    pub fn remove_node(&mut self, name: &str) {
        let pods = self.snapshot.remove_node(name);
        if !pods.is_empty() {
            self.homeless.insert(name.to_owned(), pods);
        }
    }

    fn count(&mut self, pod: &Arc<Pod>) {
        if !self.snapshot.add_pod(pod) {
            let waiting = self.homeless.entry(pod.node.clone()).or_default();
            waiting.push(pod.clone());
        }
    }

    fn discount(&mut self, pod: &Pod) {
        self.snapshot.remove_pod(pod);
        if let Some(waiting) = self.homeless.get_mut(&pod.node) {
            waiting.retain(|other| other.key != pod.key);
            if waiting.is_empty() {
                self.homeless.remove(&pod.node);
            }
        }
    }

    /// Takes in a pod that the API server shows on a node.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        if let Some(assumed) = self.assumed.remove(&pod.key) {
            self.discount(&assumed.pod);
        }
        if let Some(old) = self.placed.remove(&pod.key) {
            self.discount(&old);
        }
        self.count(&pod);
        self.placed.insert(pod.key.clone(), pod);
    }

    /// Forgets a pod; answers whether it counted on a node.
    pub fn remove_pod(&mut self, key: &str) -> bool {
        let placed = self.placed.remove(key);
        let assumed = self.assumed.remove(key).map(|assumed| assumed.pod);
        for pod in placed.iter().chain(&assumed) {
            self.discount(pod);
        }
        placed.is_some() || assumed.is_some()
    }

    /// Counts a pod on the node that was chosen for it.
    pub fn assume(&mut self, pod: Arc<Pod>) {
        self.count(&pod);
        let key = pod.key.clone();
        self.assumed.insert(key, Assumed { pod, expires: None });
    }

    /// The assignment was written: it expires if it never shows.
    pub fn bound(&mut self, key: &str, now: Instant) {
        if let Some(assumed) = self.assumed.get_mut(key) {
            assumed.expires = Some(now + ASSUMED_FOR);
        }
    }

    /// The assignment failed.
    pub fn forget(&mut self, key: &str) {
        if let Some(assumed) = self.assumed.remove(key) {
            self.discount(&assumed.pod);
        }
    }

    /// Drops assignments that never showed; answers how many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let late: Vec<String> = self
            .assumed
            .iter()
            .filter(|(_, assumed)| assumed.expires.is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &late {
            self.forget(key);
        }
        late.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{asking, node};
    use serde_json::json;

    fn used(cache: &Cache) -> i64 {
        cache.snapshot().requested.iter().map(|r| r.milli_cpu).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn an_assumed_pod_counts_once_until_it_shows_fails_or_expires() {
        let mut cache = Cache::default();
        cache.set_node("n0", &node(json!({}), json!({})));
        let now = Instant::now();
        let a = asking("a", 100).on("n0");
        cache.assume(a.clone());
        assert_eq!(used(&cache), 100);
        cache.set_pod(a.clone());
        assert_eq!(used(&cache), 100, "shown: not counted twice");
        assert!(cache.remove_pod("ns/a"));
        assert_eq!(used(&cache), 0);

        cache.assume(a.clone());
        cache.forget("ns/a");
        assert_eq!(used(&cache), 0);

        cache.assume(a);
        cache.bound("ns/a", now);
        assert_eq!(cache.expire(now), 0);
        assert_eq!(cache.expire(now + ASSUMED_FOR), 1);
        assert_eq!(used(&cache), 0);
    }

    #[test]
    fn a_pod_may_be_seen_before_its_node_and_outlive_it() {
        let mut cache = Cache::default();
        cache.set_pod(asking("a", 100).on("n0"));
        assert_eq!(used(&cache), 0);
        let machine = node(json!({}), json!({}));
        assert!(
            cache
                .set_node("n0", &machine)
                .is_some_and(|change| change.added)
        );
        assert_eq!(cache.set_node("n0", &machine), None, "nothing changed");
        assert_eq!(used(&cache), 100);
        cache.remove_node("n0");
        assert!(cache.remove_pod("ns/a"));
        cache.set_node("n0", &machine);
        assert_eq!(used(&cache), 0);
    }
}

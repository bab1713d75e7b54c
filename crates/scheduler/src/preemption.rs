//! `DefaultPreemption`: which less important pods make room for a pod.
//!
//! On each node where it could help, all pods of lower priority are taken away
//! and as many as possible put back, the important ones first. The node whose
//! victims matter least is chosen, by upstream's order of criteria.

use crate::decide::{Enabled, Unschedulable, fits, histogram};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node and the pods that have to go.
#[derive(Clone, Debug)]
pub struct Preemption {
    /// Position of the node.
    pub node: usize,
    /// The pods, the most important first.
    pub victims: Vec<Arc<Pod>>,
}

/// Finds room for a pod that fits nowhere.
///
/// # Errors
/// A text why there is none, for the pod's condition.
pub fn preempt(
    plugins: &[Enabled],
    snapshot: &Snapshot,
    pod: &Pod,
    refusal: &Unschedulable,
) -> Result<Preemption, String> {
    let policy = pod
        .spec()
        .and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if refusal.nodes == 0 {
        return Err(String::new());
    }
    let mut best: Option<(_, Preemption)> = None;
    for at in &refusal.resolvable {
        let Some(victims) = victims(plugins, snapshot, pod, *at) else {
            continue;
        };
        let rank = rank(&victims);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, Preemption { node: *at, victims }));
        }
    }
    best.map(|(_, found)| found).ok_or_else(|| {
        let hopeless = refusal.nodes - refusal.resolvable.len();
        let mut reasons = BTreeMap::new();
        for (count, reason) in [
            (hopeless, "Preemption is not helpful for scheduling"),
            (
                refusal.resolvable.len(),
                "No preemption victims found for incoming pod",
            ),
        ] {
            if count > 0 {
                reasons.insert(reason.to_owned(), count);
            }
        }
        format!(
            "preemption: 0/{} nodes are available: {}.",
            refusal.nodes,
            histogram(&reasons)
        )
    })
}

type Rank = (i32, i64, usize, Reverse<String>);

/// Less is better: the highest priority among the victims, the sum of their
/// priorities, their number, and a late start of the most important one.
fn rank(victims: &[Arc<Pod>]) -> Rank {
    let highest = victims.first().map_or(i32::MIN, |pod| pod.priority);
    // Shifted so that more victims never look cheaper because of negative priorities.
    let sum = victims
        .iter()
        .map(|pod| i64::from(pod.priority) - i64::from(i32::MIN))
        .sum();
    let start = victims
        .iter()
        .filter(|pod| pod.priority == highest)
        .map(|pod| started(pod))
        .min();
    (
        highest,
        sum,
        victims.len(),
        Reverse(start.unwrap_or_default()),
    )
}

fn started(pod: &Pod) -> String {
    let start = pod.object.str_at(&["status", "startTime"]);
    start.unwrap_or_default().to_owned()
}

fn victims(
    plugins: &[Enabled],
    snapshot: &Snapshot,
    pod: &Pod,
    at: usize,
) -> Option<Vec<Arc<Pod>>> {
    let mut lesser: Vec<Arc<Pod>> = snapshot.pods[at]
        .iter()
        .filter(|other| other.priority < pod.priority)
        .cloned()
        .collect();
    if lesser.is_empty() {
        return None;
    }
    let mut without = snapshot.clone();
    for victim in &lesser {
        without.remove_pod(victim);
    }
    if !fits(plugins, &without, pod, at) {
        return None;
    }
    lesser.sort_by_key(|victim| {
        (
            Reverse(victim.priority),
            started(victim),
            victim.key.clone(),
        )
    });
    let mut gone = Vec::new();
    for candidate in lesser {
        without.add_pod(&candidate);
        if !fits(plugins, &without, pod, at) {
            without.remove_pod(&candidate);
            gone.push(candidate);
        }
    }
    (!gone.is_empty()).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::decide::feasible;
    use crate::snapshot::tests::{node, pod, snapshot};
    use serde_json::json;

    fn important(name: &str, milli: i64, priority: i32) -> Arc<Pod> {
        pod(
            name,
            json!({"priority": priority, "containers": [
                {"name": "c", "resources": {"requests": {"cpu": format!("{milli}m")}}}]}),
        )
    }

    #[test]
    fn the_fewest_and_least_important_pods_make_room() {
        let profile = &Config::default().profiles[0];
        let mut nodes = snapshot(&[node(json!({}), json!({})), node(json!({}), json!({}))]);
        for (pod, on) in [
            (important("a", 2000, 10), "n0"),
            (important("b", 1500, 1), "n0"),
            (important("c", 4000, 5), "n1"),
        ] {
            assert!(nodes.add_pod(&pod.on(on)));
        }
        let incoming = important("x", 2000, 100);
        let refusal = feasible(&profile.plugins, &nodes, &incoming).expect_err("both are full");
        let found = preempt(&profile.plugins, &nodes, &incoming, &refusal).expect("room");
        assert_eq!(&*nodes.names[found.node], "n0");
        let names: Vec<&str> = found.victims.iter().map(|pod| pod.uid.as_str()).collect();
        assert_eq!(names, ["b"]);

        let modest = important("y", 2000, 0);
        let refusal = feasible(&profile.plugins, &nodes, &modest).expect_err("both are full");
        assert_eq!(
            preempt(&profile.plugins, &nodes, &modest, &refusal).expect_err("none is lesser"),
            "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
        );
    }
}

//! `NodeResourcesFit`: a node must have what the pod asks for; the emptier it
//! is, the better (`LeastAllocated`).

use crate::framework::{Event, NodeChange, Plugin, Prepared, SCORE_MAX, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// See the module.
pub struct NodeResourcesFit;

/// What a node lacks for a pod: the reasons, and whether even an empty node
/// would be too small.
fn lacking(snapshot: &Snapshot, pod: &Pod, at: usize) -> (Vec<String>, bool) {
    let has = &snapshot.allocatable[at];
    let used = &snapshot.requested[at];
    let mut reasons = Vec::new();
    let mut hopeless = false;
    let pods = i64::try_from(snapshot.pods[at].len()).unwrap_or(i64::MAX);
    if pods.saturating_add(1) > has.pods {
        reasons.push("Too many pods".to_owned());
    }
    let names = ["cpu", "memory", "ephemeral-storage"]
        .into_iter()
        .chain(pod.request.scalar.keys().map(String::as_str));
    for name in names {
        let wanted = pod.request.get(name);
        if wanted > 0 && wanted > has.get(name) - used.get(name) {
            reasons.push(format!("Insufficient {name}"));
            hopeless |= wanted > has.get(name);
        }
    }
    (reasons, hopeless)
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        Prepared::Filter(Box::new(move |at| match lacking(snapshot, pod, at) {
            (reasons, _) if reasons.is_empty() => Verdict::Fits,
            (reasons, true) => Verdict::Unresolvable(reasons),
            (reasons, false) => Verdict::Unschedulable(reasons),
        }))
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let score = |at: &usize| {
            let has = &snapshot.allocatable[*at];
            let used = snapshot.assumed[*at];
            let parts = [
                (has.milli_cpu, used.0 + pod.assumed.0),
                (has.memory, used.1 + pod.assumed.1),
            ];
            let known: Vec<i64> = parts
                .into_iter()
                .filter(|(has, _)| *has > 0)
                .map(|(has, used)| {
                    if used > has {
                        0
                    } else {
                        i64::try_from(
                            i128::from(has - used) * i128::from(SCORE_MAX) / i128::from(has),
                        )
                        .unwrap_or_default()
                    }
                })
                .collect();
            let count = i64::try_from(known.len()).unwrap_or(1).max(1);
            known.iter().sum::<i64>() / count
        };
        Some(feasible.iter().map(score).collect())
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodLeft
                | Event::PodUpdated
                | Event::Node(
                    NodeChange { added: true, .. }
                        | NodeChange {
                            allocatable: true,
                            ..
                        }
                )
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{node, pod, snapshot};
    use serde_json::{Value, json};

    #[test]
    fn a_container_that_asks_for_nothing_counts_for_a_little() {
        let asks = |requests: Value| json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
        // Of four CPUs and 8Gi, a container without requests is taken for 100m and 200Mi.
        for (spec, there, expected) in [
            (json!({}), 0, 97),
            (json!({}), 1, 95),
            (json!({"containers": [{"name": "a"}, {"name": "b"}]}), 0, 95),
            (asks(json!({"cpu": "2"})), 0, 73),
            (asks(json!({"memory": "4Gi"})), 0, 73),
            (asks(json!({"cpu": "0", "memory": "0"})), 0, 100),
        ] {
            let mut all = snapshot(&[node(json!({}), json!({}))]);
            for index in 0..there {
                all.add_pod(&pod(&format!("p{index}"), json!({})).on("n0"));
            }
            let found = NodeResourcesFit.score(&all, &pod("p", spec.clone()), &[0]);
            assert_eq!(found, Some(vec![expected]), "{spec} beside {there}");
        }
    }
}

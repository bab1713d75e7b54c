//! What holds for pods without constraints of their own (KEP-1258): replicas of
//! one controller are better off on different nodes and in different zones.
//!
//! Upstream asks for pods that the selector of the controller, or of a service,
//! matches. Here a controller's replicas are those that it owns.

use super::{node_matches, scores};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;

const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's skews for the two constraints.
const ZONE_SKEW_MAX: f64 = 3.0;
const NODE_SKEW_MAX: f64 = 5.0;

/// How crowded a domain is. The more domains there are, the fewer replicas each
/// has, and the more each one counts.
#[expect(clippy::cast_precision_loss, reason = "replicas and domains are few")]
fn crowd(replicas: i64, domains: usize, skew_max: f64) -> f64 {
    replicas as f64 * (domains as f64 + 2.0).ln() + skew_max - 1.0
}

/// Scores for the feasible nodes; `None` if nothing speaks for or against any.
pub(super) fn score(snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
    if pod.replica_of.is_empty() {
        return None;
    }
    let zone_of = |at: usize| snapshot.facts[at].labels.get(ZONE).map(String::as_str);
    let mut zones: BTreeMap<&str, i64> = feasible
        .iter()
        .filter_map(|at| Some((zone_of(*at)?, 0)))
        .collect();
    let mut nodes: BTreeMap<usize, i64> = BTreeMap::new();
    for (at, count) in snapshot.replicas(&pod.replica_of) {
        if !node_matches(pod, snapshot, at) {
            continue;
        }
        nodes.insert(at, count);
        if let Some(zone) = zone_of(at).and_then(|zone| zones.get_mut(zone)) {
            *zone += count;
        }
    }
    if nodes.is_empty() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "replicas are few")]
    let total = |at: &usize| {
        let here = nodes.get(at).copied().unwrap_or_default();
        let mut total = crowd(here, feasible.len(), NODE_SKEW_MAX);
        if let Some(replicas) = zone_of(*at).and_then(|zone| zones.get(zone)) {
            total += crowd(*replicas, zones.len(), ZONE_SKEW_MAX);
        }
        Some(total.round() as i64)
    };
    let totals: Vec<_> = feasible.iter().map(total).collect();
    Some(scores(&totals))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{node, replica, snapshot};
    use serde_json::{Value, json};

    /// Zones of the nodes, the nodes of the replicas, and the scores.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], Option<&'a [i64]>);

    #[test]
    fn the_nodes_and_zones_with_the_fewest_replicas_score_best() {
        let cases: [Case<'_>; 6] = [
            (&["", ""], &[], None),
            (&["", ""], &["n0"], Some(&[80, 100])),
            (&["", ""], &["n0", "n1"], Some(&[100, 100])),
            (&["", ""], &["n0", "n0", "n1"], Some(&[71, 100])),
            // The same zone adds the same to both nodes.
            (&["a", "a"], &["n0"], Some(&[87, 100])),
            // An empty node beside a replica is better than that replica's node,
            // and worse than another zone.
            (&["a", "a", "b"], &["n0"], Some(&[66, 88, 100])),
        ];
        for (zones, pods, expected) in cases {
            let labels = |zone: &&str| -> Value {
                if zone.is_empty() {
                    json!({})
                } else {
                    json!({ ZONE: zone })
                }
            };
            let nodes: Vec<_> = zones
                .iter()
                .map(|zone| node(labels(zone), json!({})))
                .collect();
            let mut all = snapshot(&nodes);
            for (index, at) in pods.iter().enumerate() {
                all.add_pod(&replica(&format!("p{index}"), "ReplicaSet", json!({})).on(at));
            }
            let feasible: Vec<usize> = (0..zones.len()).collect();
            let found = score(&all, &replica("p", "ReplicaSet", json!({})), &feasible);
            assert_eq!(found.as_deref(), expected, "{zones:?} {pods:?}");
        }
    }
}

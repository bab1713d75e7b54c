//! `PodTopologySpread`: pods of a kind are spread over zones, nodes, or
//! whatever else labels tell apart (KEP-895). Replicas whose pods say nothing
//! about it are spread, too (KEP-1258).

mod defaults;

use super::node_affinity::node_matches;
use super::taint_toleration::tolerates;
use crate::framework::{Event, NodeChange, Plugin, Prepared, SCORE_MAX, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use kontiki_object::LabelSelector;
use std::collections::BTreeMap;

/// See the module.
pub struct PodTopologySpread;

const REASON: &str = "node(s) didn't match pod topology spread constraints";

struct Constraint {
    key: String,
    skew_max: i64,
    domains_min: usize,
    selector: LabelSelector,
    honours_affinity: bool,
    honours_taints: bool,
}

impl Constraint {
    fn of(pod: &Pod, one: &TopologySpreadConstraint) -> Self {
        let value = serde_json::to_value(&one.label_selector).unwrap_or_default();
        let field = one.label_selector.as_ref().map(|_| &value);
        let selector =
            LabelSelector::from_field(field).unwrap_or_else(|_| LabelSelector::nothing());
        let mut requirements = selector.requirements().to_vec();
        for key in one.match_label_keys.iter().flatten() {
            if let Some(value) = pod.labels.get(key) {
                let pair = LabelSelector::from_pairs([(key.clone(), value.clone())]);
                requirements.extend(pair.requirements().iter().cloned());
            }
        }
        let selector = if one.label_selector.is_some() {
            LabelSelector::new(requirements)
        } else {
            selector
        };
        Self {
            key: one.topology_key.clone(),
            skew_max: i64::from(one.max_skew),
            domains_min: usize::try_from(one.min_domains.unwrap_or(1)).unwrap_or(1),
            selector,
            honours_affinity: one.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: one.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    fn matches(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        self.selector.matches_with(label)
    }

    /// Whether a node takes part in the count.
    fn counts(&self, snapshot: &Snapshot, pod: &Pod, at: usize) -> bool {
        let tainted = || {
            snapshot.facts[at].taints.iter().any(|taint| {
                taint.effect != "PreferNoSchedule" && !tolerates(pod.tolerations(), taint)
            })
        };
        (!self.honours_affinity || node_matches(pod, snapshot, at))
            && !(self.honours_taints && tainted())
    }

    fn on_node(&self, snapshot: &Snapshot, pod: &Pod, at: usize) -> i64 {
        let alike = snapshot.pods[at].iter().filter(|other| {
            other.namespace == pod.namespace
                && !other.object.is_terminating()
                && self.matches(other)
        });
        i64::try_from(alike.count()).unwrap_or(i64::MAX)
    }
}

fn constraints(pod: &Pod, when: &str) -> Vec<Constraint> {
    let all = pod
        .spec()
        .and_then(|s| s.topology_spread_constraints.as_ref());
    all.into_iter()
        .flatten()
        .filter(|one| one.when_unsatisfiable == when)
        .map(|one| Constraint::of(pod, one))
        .collect()
}

fn has_all_keys(all: &[Constraint], snapshot: &Snapshot, at: usize) -> bool {
    all.iter()
        .all(|one| snapshot.facts[at].labels.contains_key(&one.key))
}

/// How many pods of the kind each domain has.
fn domains<'a>(
    one: &Constraint,
    all: &[Constraint],
    snapshot: &'a Snapshot,
    pod: &Pod,
    nodes: impl Iterator<Item = usize>,
) -> BTreeMap<&'a str, i64> {
    let mut counts = BTreeMap::new();
    for at in nodes {
        if !has_all_keys(all, snapshot, at) || !one.counts(snapshot, pod, at) {
            continue;
        }
        if let Some(domain) = snapshot.facts[at].labels.get(&one.key) {
            *counts.entry(domain.as_str()).or_default() += one.on_node(snapshot, pod, at);
        }
    }
    counts
}

/// Scores from how crowded nodes are; `None` for a node that lacks a label.
fn scores(crowds: &[Option<i64>]) -> Vec<i64> {
    let most = crowds.iter().flatten().copied().max().unwrap_or_default();
    let least = crowds.iter().flatten().copied().min().unwrap_or_default();
    let score = |crowd: &Option<i64>| match crowd {
        None => 0,
        Some(_) if most == 0 => SCORE_MAX,
        Some(crowd) => SCORE_MAX * (most + least - crowd) / most,
    };
    crowds.iter().map(score).collect()
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        let all = constraints(pod, "DoNotSchedule");
        if all.is_empty() {
            return Prepared::Skip;
        }
        let counts: Vec<_> = all
            .iter()
            .map(|one| domains(one, &all, snapshot, pod, 0..snapshot.len()))
            .collect();
        Prepared::Filter(Box::new(move |at| {
            for (one, counts) in all.iter().zip(&counts) {
                let Some(domain) = snapshot.facts[at].labels.get(&one.key) else {
                    let reason = format!("{REASON} (missing required label)");
                    return Verdict::Unresolvable(vec![reason]);
                };
                // With too few domains the emptiest one is one that does not exist yet.
                let least = if counts.len() < one.domains_min {
                    0
                } else {
                    counts.values().copied().min().unwrap_or_default()
                };
                let here = counts.get(domain.as_str()).copied().unwrap_or_default();
                let own = i64::from(one.matches(pod));
                if here + own - least > one.skew_max {
                    return Verdict::not_now(REASON);
                }
            }
            Verdict::Fits
        }))
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let own = pod
            .spec()
            .and_then(|spec| spec.topology_spread_constraints.as_ref());
        if own.is_none_or(Vec::is_empty) {
            return defaults::score(snapshot, pod, feasible);
        }
        let all = constraints(pod, "ScheduleAnyway");
        if all.is_empty() {
            return None;
        }
        let mut totals: Vec<Option<i64>> = feasible
            .iter()
            .map(|at| has_all_keys(&all, snapshot, *at).then_some(0))
            .collect();
        for one in &all {
            let counts = domains(one, &all, snapshot, pod, 0..snapshot.len());
            for (at, total) in feasible.iter().zip(&mut totals) {
                let domain = snapshot.facts[*at].labels.get(&one.key);
                if let (Some(total), Some(domain)) = (total.as_mut(), domain) {
                    *total += counts.get(domain.as_str()).copied().unwrap_or_default();
                }
            }
        }
        Some(scores(&totals))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodLeft
                | Event::PodArrived
                | Event::PodUpdated
                | Event::Node(
                    NodeChange { added: true, .. }
                        | NodeChange { labels: true, .. }
                        | NodeChange { taints: true, .. }
                )
        )
    }
}

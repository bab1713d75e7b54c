//! `NodeAffinity`: node selectors and node affinity.

use crate::framework::{Event, NodeChange, Plugin, Prepared, Verdict, normalize};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

/// See the module.
pub struct NodeAffinity;

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|other| other == value));
    let numbers = || {
        let [bound] = values else { return None };
        Some((value?.parse::<i64>().ok()?, bound.parse::<i64>().ok()?))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Whether a node meets a term; a term without requirements is met by none.
#[must_use]
pub fn term_holds(term: &NodeSelectorTerm, snapshot: &Snapshot, at: usize) -> bool {
    let labels = &snapshot.facts[at].labels;
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|one| requirement_holds(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| {
            let value = (one.key == "metadata.name").then_some(&*snapshot.names[at]);
            requirement_holds(one, value)
        })
}

/// Whether a node meets a pod's node selector and its required node affinity.
#[must_use]
pub fn node_matches(pod: &Pod, snapshot: &Snapshot, at: usize) -> bool {
    let labels = &snapshot.facts[at].labels;
    let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
    let selected = selector
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    selected
        && pod.required_node_affinity().is_none_or(|required| {
            let mut terms = required.node_selector_terms.iter();
            terms.any(|term| term_holds(term, snapshot, at))
        })
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        let selects = pod.spec().is_some_and(|spec| spec.node_selector.is_some());
        if !selects && pod.required_node_affinity().is_none() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |at| {
            if node_matches(pod, snapshot, at) {
                Verdict::Fits
            } else {
                Verdict::never("node(s) didn't match Pod's node affinity/selector")
            }
        }))
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let affinity = pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()?;
        let score = |at: &usize| -> i64 {
            preferred
                .iter()
                .filter(|one| term_holds(&one.preference, snapshot, *at))
                .map(|one| i64::from(one.weight))
                .sum()
        };
        let mut scores: Vec<i64> = feasible.iter().map(score).collect();
        normalize(&mut scores, false);
        Some(scores)
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodUpdated
                | Event::Node(NodeChange { added: true, .. } | NodeChange { labels: true, .. })
        )
    }
}

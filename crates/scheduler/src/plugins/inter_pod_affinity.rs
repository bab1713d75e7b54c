//! `InterPodAffinity`: pods that want to be near others, or away from them.

use crate::framework::{Event, NodeChange, Plugin, Prepared, SCORE_MAX, Verdict};
use crate::pod::{
    AffinityTerm, PREFERRED_AFFINITY, PREFERRED_ANTI_AFFINITY, Pod, REQUIRED_AFFINITY,
    REQUIRED_ANTI_AFFINITY,
};
use crate::snapshot::Snapshot;
use std::collections::{HashMap, HashSet};

/// See the module.
pub struct InterPodAffinity;

type Place<'a> = (&'a str, &'a str);

fn place<'a>(snapshot: &'a Snapshot, at: usize, key: &'a str) -> Option<Place<'a>> {
    let value = snapshot.facts[at].labels.get(key)?;
    Some((key, value.as_str()))
}

/// The places where a pod is that the term means.
fn places<'a>(
    snapshot: &'a Snapshot,
    term: &'a AffinityTerm,
    means: impl Fn(&Pod) -> bool,
) -> HashSet<Place<'a>> {
    (0..snapshot.len())
        .filter(|at| snapshot.pods[*at].iter().any(|other| means(other)))
        .filter_map(|at| place(snapshot, at, &term.topology_key))
        .collect()
}

/// The places that pods which are there already keep this pod away from.
fn kept_away<'a>(snapshot: &'a Snapshot, pod: &Pod) -> HashSet<Place<'a>> {
    let mut places = HashSet::new();
    for at in 0..snapshot.len() {
        for other in &snapshot.pods[at] {
            for term in &other.affinity[REQUIRED_ANTI_AFFINITY] {
                if term.matches(pod) {
                    places.extend(place(snapshot, at, &term.topology_key));
                }
            }
        }
    }
    places
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        let away = kept_away(snapshot, pod);
        let wants = &pod.affinity[REQUIRED_AFFINITY];
        let avoids = &pod.affinity[REQUIRED_ANTI_AFFINITY];
        if away.is_empty() && wants.is_empty() && avoids.is_empty() {
            return Prepared::Skip;
        }
        // A pod must match all terms to count for any of them.
        let near: Vec<_> = wants
            .iter()
            .map(|term| {
                let means = |other: &Pod| wants.iter().all(|term| term.matches(other));
                places(snapshot, term, means)
            })
            .collect();
        let far: Vec<_> = avoids
            .iter()
            .map(|term| places(snapshot, term, |other| term.matches(other)))
            .collect();
        // The first pod of a group that wants to be together may go anywhere.
        let first =
            near.iter().all(HashSet::is_empty) && wants.iter().all(|term| term.matches(pod));
        Prepared::Filter(Box::new(move |at| {
            let at_place = |term: &'a AffinityTerm| place(snapshot, at, &term.topology_key);
            let satisfied = wants.iter().zip(&near).all(|(term, near)| {
                at_place(term).is_some_and(|place| first || near.contains(&place))
            });
            if !satisfied {
                return Verdict::never("node(s) didn't match pod affinity rules");
            }
            let disturbed = avoids
                .iter()
                .zip(&far)
                .any(|(term, far)| at_place(term).is_some_and(|place| far.contains(&place)));
            if disturbed {
                return Verdict::not_now("node(s) didn't match pod anti-affinity rules");
            }
            let labels = &snapshot.facts[at].labels;
            let disturbs = away
                .iter()
                .any(|(key, value)| labels.get(*key).is_some_and(|own| own == value));
            if disturbs {
                return Verdict::not_now(
                    "node(s) didn't satisfy existing pods anti-affinity rules",
                );
            }
            Verdict::Fits
        }))
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let mut weights: HashMap<Place<'_>, i64> = HashMap::new();
        for at in 0..snapshot.len() {
            for other in &snapshot.pods[at] {
                for (which, sign) in [(PREFERRED_AFFINITY, 1), (PREFERRED_ANTI_AFFINITY, -1)] {
                    let ours = pod.affinity[which].iter().filter(|t| t.matches(other));
                    let theirs = other.affinity[which].iter().filter(|t| t.matches(pod));
                    for term in ours.chain(theirs) {
                        if let Some(place) = place(snapshot, at, &term.topology_key) {
                            *weights.entry(place).or_default() += sign * term.weight;
                        }
                    }
                }
            }
        }
        if weights.is_empty() {
            return None;
        }
        let total = |at: &usize| -> i64 {
            let labels = &snapshot.facts[*at].labels;
            weights
                .iter()
                .filter(|((key, value), _)| labels.get(*key).is_some_and(|own| own == value))
                .map(|(_, weight)| *weight)
                .sum()
        };
        let totals: Vec<i64> = feasible.iter().map(total).collect();
        let least = totals.iter().copied().min().unwrap_or_default();
        let spread = totals.iter().copied().max().unwrap_or_default() - least;
        let score = |total: i64| {
            if spread == 0 {
                0
            } else {
                SCORE_MAX * (total - least) / spread
            }
        };
        Some(totals.into_iter().map(score).collect())
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
                | Event::Node(NodeChange { added: true, .. } | NodeChange { labels: true, .. })
        )
    }
}

//! `TaintToleration`: taints keep pods away that do not tolerate them.

use crate::framework::{Event, NodeChange, Plugin, Prepared, Verdict, normalize};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// See the module.
pub struct TaintToleration;

/// Whether one of the tolerations tolerates a taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let effect = text(&toleration.effect);
        let key = text(&toleration.key);
        if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
            return false;
        }
        let theirs = text(&taint.value);
        let ours = text(&toleration.value);
        let numbers = || Some((theirs.parse::<i64>().ok()?, ours.parse::<i64>().ok()?));
        match text(&toleration.operator).as_str() {
            "" | "Equal" => ours == theirs,
            "Exists" => true,
            // Comparisons need numbers on both sides (KEP-5471).
            "Gt" => numbers().is_some_and(|(theirs, ours)| theirs > ours),
            "Lt" => numbers().is_some_and(|(theirs, ours)| theirs < ours),
            _ => false,
        }
    })
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        Prepared::Filter(Box::new(move |at| {
            let refused = snapshot.facts[at].taints.iter().any(|taint| {
                matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
                    && !tolerates(pod.tolerations(), taint)
            });
            if refused {
                Verdict::never("node(s) had untolerated taint(s)")
            } else {
                Verdict::Fits
            }
        }))
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let soft: Vec<Toleration> = pod
            .tolerations()
            .iter()
            .filter(|toleration| {
                let effect = toleration.effect.as_deref().unwrap_or_default();
                effect.is_empty() || effect == "PreferNoSchedule"
            })
            .cloned()
            .collect();
        let disliked = |at: &usize| {
            let taints = snapshot.facts[*at].taints.iter();
            let count = taints
                .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(&soft, taint))
                .count();
            i64::try_from(count).unwrap_or(i64::MAX / 1000)
        };
        let mut scores: Vec<i64> = feasible.iter().map(disliked).collect();
        normalize(&mut scores, true);
        Some(scores)
    }

    fn weight(&self) -> i64 {
        3
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodUpdated
                | Event::Node(NodeChange { added: true, .. } | NodeChange { taints: true, .. })
        )
    }
}

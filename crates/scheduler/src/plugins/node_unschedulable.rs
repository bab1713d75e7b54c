//! `NodeUnschedulable`: cordoned nodes take only pods that tolerate it.

use super::taint_toleration::tolerates;
use crate::framework::{Event, NodeChange, Plugin, Prepared, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::Taint;

/// See the module.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(pod.tolerations(), &taint) {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |at| {
            if snapshot.facts[at].unschedulable {
                Verdict::never("node(s) were unschedulable")
            } else {
                Verdict::Fits
            }
        }))
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodUpdated
                | Event::Node(NodeChange { added: true, .. } | NodeChange { taints: true, .. })
        )
    }
}

//! `NodeName`: a pod that names its node runs there or nowhere.

use crate::framework::{Event, NodeChange, Plugin, Prepared, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// See the module.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        if pod.node.is_empty() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |at| {
            if *snapshot.names[at] == *pod.node {
                Verdict::Fits
            } else {
                Verdict::never("node(s) didn't match the requested node name")
            }
        }))
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(event, Event::Node(NodeChange { added: true, .. }))
    }
}

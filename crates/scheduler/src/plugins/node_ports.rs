//! `NodePorts`: a port of a node goes to one pod.

use crate::framework::{Event, NodeChange, Plugin, Prepared, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// See the module.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter<'a>(&self, snapshot: &'a Snapshot, pod: &'a Pod) -> Prepared<'a> {
        if pod.ports.is_empty() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |at| {
            let taken = &snapshot.ports[at];
            let clash = pod
                .ports
                .iter()
                .any(|wanted| taken.iter().any(|other| wanted.conflicts(other)));
            if clash {
                Verdict::not_now("node(s) didn't have free ports for the requested pod ports")
            } else {
                Verdict::Fits
            }
        }))
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        matches!(
            event,
            Event::PodLeft | Event::Node(NodeChange { added: true, .. })
        )
    }
}

//! `SchedulingGates`: a pod with gates waits until they are removed (KEP-3521).

use crate::framework::{Event, Plugin};
use crate::pod::Pod;

/// See the module.
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn gate(&self, pod: &Pod) -> Option<String> {
        let gates = pod.spec()?.scheduling_gates.as_ref()?;
        if gates.is_empty() {
            return None;
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Some(format!(
            "waiting for scheduling gates: [{}]",
            names.join(" ")
        ))
    }

    fn may_help(&self, _pod: &Pod, event: &Event) -> bool {
        *event == Event::PodUpdated
    }
}

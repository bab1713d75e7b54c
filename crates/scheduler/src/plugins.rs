//! The plugins: one file each and one line here, in upstream's default order.

pub mod balanced_allocation;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_unschedulable;
pub mod resources_fit;
pub mod scheduling_gates;
pub mod taint_toleration;
pub mod topology_spread;

use crate::framework::Plugin;

/// Every plugin that filters or scores.
pub const ALL: [&dyn Plugin; 11] = [
    &scheduling_gates::SchedulingGates,
    &node_unschedulable::NodeUnschedulable,
    &node_name::NodeName,
    &taint_toleration::TaintToleration,
    &node_affinity::NodeAffinity,
    &node_ports::NodePorts,
    &resources_fit::NodeResourcesFit,
    &topology_spread::PodTopologySpread,
    &inter_pod_affinity::InterPodAffinity,
    &balanced_allocation::NodeResourcesBalancedAllocation,
    &image_locality::ImageLocality,
];

/// Names of plugins that the scheduler's own parts stand for: profiles may name them.
pub const BUILT_IN: [&str; 3] = ["PrioritySort", "DefaultPreemption", "DefaultBinder"];

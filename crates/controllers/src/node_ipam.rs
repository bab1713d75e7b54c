//! Cuts each node's range of pod addresses from the cluster's.
//!
//! All nodes are one key: two allocations at a time could pick the same range.

use crate::controller::Context;
use crate::fields::list;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use ipnet::IpNet;
use kontiki_client::resources::NODES;
use kontiki_client::{Delta, EventType};
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value};
use serde_json::json;

const ALL: &str = "nodes";

pub(crate) struct NodeIpamController;

pub(crate) struct State {
    cluster: IpNet,
    mask: u8,
    nodes: Vec<SharedObject>,
}

/// Calls when a node without a range appears, or a range becomes free.
fn of_node(_: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let lacks = delta
        .new
        .as_ref()
        .is_none_or(|node| node.str_at(&["spec", "podCIDR"]).is_none());
    lacks.then(|| ALL.to_owned()).into_iter().collect()
}

#[async_trait]
impl Reconciler for NodeIpamController {
    type State = State;

    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::map(NODES, of_node)]
    }

    async fn observe(&self, context: &Context, _: &str) -> Result<Option<State>, Status> {
        let config = &context.config;
        if config.cluster_cidr.is_empty() {
            return Ok(None);
        }
        let cluster = config.cluster_cidr.parse().map_err(|_| {
            Status::internal(format!(
                "the cluster's pod range {:?} is not a CIDR such as 10.244.0.0/16",
                config.cluster_cidr
            ))
        })?;
        Ok(Some(State {
            cluster,
            mask: config.node_cidr_mask,
            nodes: context.caches.of(&NODES).list(),
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let ranges = |node: &SharedObject| -> Vec<IpNet> {
            let ranges = list(node, &["spec", "podCIDRs"])
                .iter()
                .filter_map(Value::as_str);
            let ranges = ranges.chain(node.str_at(&["spec", "podCIDR"]));
            ranges.filter_map(|range| range.parse().ok()).collect()
        };
        let mut taken: Vec<IpNet> = state.nodes.iter().flat_map(ranges).collect();
        let overlaps = |taken: &[IpNet], range: &IpNet| {
            taken
                .iter()
                .any(|other| other.contains(range) || range.contains(other))
        };
        let mut plan = Plan::nothing();
        let Ok(subnets) = state.cluster.subnets(state.mask) else {
            return plan;
        };
        let mut subnets = subnets;
        for node in state.nodes.iter().filter(|node| ranges(node).is_empty()) {
            match subnets.find(|range| !overlaps(&taken, range)) {
                Some(range) => {
                    taken.push(range);
                    let spec =
                        json!({"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]});
                    let patch = json!({"metadata": {"uid": node.uid()}, "spec": spec});
                    plan.actions.push(Action::patch(&NODES, node, patch));
                }
                None => {
                    let message = "Node has no pod range: the cluster's range is used up";
                    plan.event(node, EventType::Warning, "CIDRNotAvailable", message);
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::moment;
    use kontiki_object::Object;
    use std::sync::Arc;

    fn node(name: &str, range: Option<&str>) -> SharedObject {
        let tree = json!({"metadata": {"name": name, "uid": name}, "spec": {"podCIDR": range}});
        Arc::new(Object::from_value(tree).expect("a map"))
    }

    #[test]
    fn the_lowest_free_range_is_taken_and_none_twice() {
        let state = State {
            cluster: "10.244.0.0/22".parse().expect("a CIDR"),
            mask: 24,
            nodes: vec![
                node("a", None),
                node("b", Some("10.244.0.0/24")),
                node("c", None),
                node("d", Some("10.244.2.0/24")),
                node("e", None),
            ],
        };
        let plan = NodeIpamController.plan(&state, &moment());
        let given: Vec<String> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Patch { name, patch, .. } => {
                    Some(format!("{name} {}", patch["spec"]["podCIDR"]))
                }
                _ => None,
            })
            .collect();
        assert_eq!(given, ["a \"10.244.1.0/24\"", "c \"10.244.3.0/24\""]);
        assert_eq!(plan.events.len(), 1, "e goes without");
    }
}

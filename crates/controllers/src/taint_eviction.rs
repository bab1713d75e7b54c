//! Evicts pods from nodes with a `NoExecute` taint that they do not tolerate, or
//! no longer.

use crate::controller::Context;
use crate::fields::{Condition, list, set_condition, text, until};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_client::resources::{NODES, PODS};
use kontiki_client::{Delta, EventType};
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value, time};
use serde_json::json;

pub(crate) struct TaintEvictionController;

pub(crate) struct State {
    pod: SharedObject,
    taints: Vec<Value>,
}

fn no_execute(node: &SharedObject) -> Vec<Value> {
    let taints = list(node, &["spec", "taints"]).iter();
    taints
        .filter(|taint| text(taint, "effect") == "NoExecute")
        .cloned()
        .collect()
}

/// The pods of a node whose taints changed.
fn of_node(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let before = delta.old.as_ref().map(no_execute).unwrap_or_default();
    let after = delta.new.as_ref().map(no_execute).unwrap_or_default();
    if before == after {
        return Vec::new();
    }
    let pods = context.caches.on_node(&PODS, delta.object().name());
    pods.iter().map(|pod| pod.key()).collect()
}

/// A pod that was bound, or whose tolerations changed.
fn of_pod(_: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let relevant = |pod: &SharedObject| {
        let tolerations = pod.get(&["spec", "tolerations"]).cloned();
        (pods::node(pod).map(str::to_owned), tolerations)
    };
    let same = delta.old.as_ref().map(relevant) == delta.new.as_ref().map(relevant);
    let pod = delta
        .new
        .as_ref()
        .filter(|pod| !same && pods::node(pod).is_some());
    pod.map(|pod| pod.key()).into_iter().collect()
}

#[async_trait]
impl Reconciler for TaintEvictionController {
    type State = State;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::map(PODS, of_pod), Watch::map(NODES, of_node)]
    }

    fn workers(&self) -> Option<usize> {
        Some(8)
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let pod = context
            .caches
            .of(&PODS)
            .get(key)
            .filter(|pod| !pod.is_terminating());
        let Some(pod) = pod else { return Ok(None) };
        let node = pods::node(&pod).and_then(|node| context.caches.get(&NODES, "", node));
        let taints = node.as_ref().map(no_execute).unwrap_or_default();
        Ok((!taints.is_empty()).then_some(State { pod, taints }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let tolerations = list(&state.pod, &["spec", "tolerations"]);
        let mut due = None;
        for taint in &state.taints {
            let ends = match pods::tolerates(tolerations, taint) {
                None => at.now,
                Some(None) => continue,
                Some(Some(seconds)) => {
                    let since = time::parse(text(taint, "timeAdded")).unwrap_or(at.now);
                    since + SignedDuration::from_secs(seconds.max(0))
                }
            };
            due = Some(due.map_or(ends, |known| ends.min(known)));
        }
        match due {
            None => Plan::nothing(),
            Some(due) if due > at.now => Plan {
                requeue_after: Some(until(due, at.now)),
                ..Plan::default()
            },
            Some(_) => evict(&state.pod, at),
        }
    }
}

fn evict(pod: &SharedObject, at: &Moment) -> Plan {
    let mut conditions = list(pod, &["status", "conditions"]).to_vec();
    let condition = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "DeletionByTaintManager",
        message: "Taint manager: deleting due to NoExecute taint".into(),
    };
    set_condition(&mut conditions, &condition, &[], at.now);
    let told = Action::Patch {
        resource: PODS,
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        status: true,
        patch: json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}}),
    };
    let mut plan = Plan::of([told, Action::delete(&PODS, pod)]);
    let message = format!("Marking for deletion Pod {}", pod.key());
    plan.event(pod, EventType::Normal, "TaintManagerEviction", message);
    plan
}

//! PodDisruptionBudgets: how many pods may be evicted now.

use crate::controller::Context;
use crate::fields::{Condition, int, list, set_condition, share, text, until};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_client::Delta;
use kontiki_client::resources::{
    DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use kontiki_object::{
    GroupVersionResource, LabelSelector, Object, SharedObject, Status, Value, time,
};
use serde_json::json;
use std::collections::BTreeMap;

/// An eviction that was granted and does not come about is forgotten after this time.
const GRANT: SignedDuration = SignedDuration::from_mins(2);

pub(crate) struct DisruptionController;

pub(crate) struct State {
    budget: SharedObject,
    pods: Vec<SharedObject>,
    /// The replicas that the pods' controllers want, all together.
    replicas: i64,
}

fn selector(budget: &Object) -> LabelSelector {
    let field = budget.get(&["spec", "selector"]);
    LabelSelector::from_field(field).unwrap_or_else(|_| LabelSelector::nothing())
}

fn of_pod(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let budgets = context.caches.of(&POD_DISRUPTION_BUDGETS);
    let budgets = budgets.list_namespace(delta.object().namespace());
    let matching = budgets.into_iter().filter(|budget| {
        let selector = selector(budget);
        delta
            .old
            .iter()
            .chain(delta.new.iter())
            .any(|pod| selector.matches(pod))
    });
    matching.map(|budget| budget.key()).collect()
}

/// The replicas that a pod's topmost known controller wants, and who that is.
fn scale_above(context: &Context, pod: &Object) -> Option<(String, i64)> {
    let owner = pod.controller_of()?;
    let get = |resource: &GroupVersionResource, name: &str| {
        context.caches.get(resource, pod.namespace(), name)
    };
    let mut found = match owner.kind.as_str() {
        "ReplicaSet" => get(&REPLICA_SETS, &owner.name)?,
        "StatefulSet" => get(&STATEFUL_SETS, &owner.name)?,
        "ReplicationController" => get(&REPLICATION_CONTROLLERS, &owner.name)?,
        _ => return None,
    };
    if let Some(above) = found
        .controller_of()
        .filter(|above| above.kind == "Deployment")
    {
        found = get(&DEPLOYMENTS, &above.name)?;
    }
    let replicas = int(&found, &["spec", "replicas"]).unwrap_or(1);
    Some((found.uid().to_owned(), replicas))
}

#[async_trait]
impl Reconciler for DisruptionController {
    type State = State;

    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(POD_DISRUPTION_BUDGETS),
            Watch::map(PODS, of_pod),
            Watch::read(DEPLOYMENTS),
            Watch::read(REPLICA_SETS),
            Watch::read(STATEFUL_SETS),
            Watch::read(REPLICATION_CONTROLLERS),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(budget) = context.caches.of(&POD_DISRUPTION_BUDGETS).get(key) else {
            return Ok(None);
        };
        let selector = selector(&budget);
        let mut pods = context.caches.of(&PODS).list_namespace(budget.namespace());
        pods.retain(|pod| selector.matches(pod) && !pods::is_terminal(pod));
        let scales = pods.iter().filter_map(|pod| scale_above(context, pod));
        let scales: BTreeMap<String, i64> = scales.collect();
        Ok(Some(State {
            replicas: scales.values().sum(),
            budget,
            pods,
        }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let budget = &state.budget;
        let (expected, desired) = demand(state);
        let mut plan = Plan::nothing();
        let mut granted = json!({});
        let stored = budget
            .get(&["status", "disruptedPods"])
            .and_then(Value::as_object);
        for (name, since) in stored.into_iter().flatten() {
            let ends = since
                .as_str()
                .and_then(time::parse)
                .map(|since| since + GRANT);
            let pod = state.pods.iter().find(|pod| pod.name() == name);
            let waits = pod.is_some_and(|pod| !pod.is_terminating());
            if let Some(ends) = ends.filter(|ends| waits && *ends > at.now) {
                granted[name] = since.clone();
                plan.requeue(until(ends, at.now));
            }
        }
        let healthy = state.pods.iter().filter(|pod| {
            pods::is_ready(pod) && !pod.is_terminating() && granted.get(pod.name()).is_none()
        });
        let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
        let allowed = if expected > 0 {
            (healthy - desired).max(0)
        } else {
            0
        };
        let mut conditions = list(budget, &["status", "conditions"]).to_vec();
        let (status, reason) = if allowed > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        };
        let known = conditions
            .iter()
            .find(|c| text(c, "type") == "DisruptionAllowed");
        if known.is_none_or(|known| text(known, "status") != status) {
            let condition = Condition {
                kind: "DisruptionAllowed",
                status,
                reason,
                message: String::new(),
            };
            let generation = [("observedGeneration", json!(budget.generation()))];
            set_condition(&mut conditions, &condition, &generation, at.now);
        }
        let none = granted.as_object().is_none_or(|granted| granted.is_empty());
        let status = json!({
            "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
            "disruptionsAllowed": allowed, "observedGeneration": budget.generation(),
            "disruptedPods": if none { Value::Null } else { granted },
            "conditions": conditions,
        });
        plan.actions
            .extend(Action::status(&POD_DISRUPTION_BUDGETS, budget, status));
        plan
    }
}

/// How many pods there should be, and how many of them healthy.
fn demand(state: &State) -> (i64, i64) {
    let there = i64::try_from(state.pods.len()).unwrap_or(i64::MAX);
    let budget = &state.budget;
    if let Some(unavailable) = budget.get(&["spec", "maxUnavailable"]) {
        let most = share(Some(unavailable), "0", state.replicas, true);
        return (state.replicas, (state.replicas - most).max(0));
    }
    match budget.get(&["spec", "minAvailable"]) {
        Some(Value::String(_)) => {
            let least = budget.get(&["spec", "minAvailable"]);
            (state.replicas, share(least, "0", state.replicas, true))
        }
        least => (there, least.and_then(Value::as_i64).unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::moment;
    use std::sync::Arc;

    #[test]
    fn what_a_budget_allows() {
        let pod = |i: usize, ready: bool| {
            let status = if ready { "True" } else { "False" };
            let tree = json!({"metadata": {"name": i.to_string()}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
            Arc::new(Object::from_value(tree).expect("a map"))
        };
        // spec, ready, unready, wanted by controllers → allowed
        for (spec, ready, unready, replicas, allowed) in [
            (json!({"minAvailable": 2}), 3, 0, 3, 1),
            (json!({"minAvailable": 2}), 2, 1, 3, 0),
            (json!({"minAvailable": "50%"}), 4, 0, 4, 2),
            (json!({"maxUnavailable": 1}), 3, 0, 3, 1),
            (json!({"maxUnavailable": 1}), 2, 1, 3, 0),
            (json!({"maxUnavailable": "30%"}), 10, 0, 10, 3),
            (json!({"maxUnavailable": 1}), 0, 0, 0, 0),
        ] {
            let budget = json!({"metadata": {"name": "b", "namespace": "n"}, "spec": spec});
            let state = State {
                budget: Arc::new(Object::from_value(budget).expect("a map")),
                pods: (0..ready + unready).map(|i| pod(i, i < ready)).collect(),
                replicas,
            };
            let plan = DisruptionController.plan(&state, &moment());
            let Some(Action::Update { body, .. }) = plan.actions.first() else {
                panic!("a status");
            };
            assert_eq!(body["status"]["disruptionsAllowed"], allowed, "{spec}");
        }
    }
}

//! ReplicaSets and ReplicationControllers: so many pods of a template.

use crate::controller::{Context, selector_of};
use crate::fields::{Condition, int, list, set_condition, text};
use crate::owners::{Claimed, claim};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use kontiki_client::resources::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, Value};
use serde_json::json;

/// Pods created or deleted in one reconciliation; the next follows when the
/// caches show them.
const BURST_MAX: usize = 500;

/// Keeps so many pods of a template; serves two kinds that differ only in name.
pub(crate) struct ReplicaSetController {
    name: &'static str,
    kind: &'static str,
    resource: GroupVersionResource,
}

impl ReplicaSetController {
    pub(crate) const fn replica_sets() -> Self {
        Self {
            name: "replicaset-controller",
            kind: "ReplicaSet",
            resource: REPLICA_SETS,
        }
    }

    pub(crate) const fn replication_controllers() -> Self {
        Self {
            name: "replicationcontroller-controller",
            kind: "ReplicationController",
            resource: REPLICATION_CONTROLLERS,
        }
    }
}

pub(crate) struct State {
    set: SharedObject,
    candidates: Vec<SharedObject>,
}

#[async_trait]
impl Reconciler for ReplicaSetController {
    type State = State;

    fn name(&self) -> &'static str {
        self.name
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(self.resource.clone()),
            Watch::owned(PODS, self.kind, self.resource.clone()),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(set) = context.caches.of(&self.resource).get(key) else {
            return Ok(None);
        };
        let candidates = context.caches.claimable(&PODS, &set);
        Ok(Some(State { set, candidates }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let set = &state.set;
        let candidates = state
            .candidates
            .iter()
            .filter(|pod| !pods::is_terminal(pod));
        let Claimed { owned, actions } = claim(
            &self.resource,
            set,
            &PODS,
            &selector_of(set),
            candidates.cloned().collect(),
        );
        let min_ready = int(set, &["spec", "minReadySeconds"]).unwrap_or_default();
        let mut plan = Plan {
            report: Some(set.clone()),
            requeue_after: pods::next_available(&owned, min_ready, at.now),
            ..Plan::default()
        };
        let (terminating, active): (Vec<SharedObject>, Vec<SharedObject>) =
            owned.into_iter().partition(|pod| pod.is_terminating());
        let status = self.status(set, &active, terminating.len(), at);
        plan.actions
            .extend(Action::status(&self.resource, set, status));
        let settled = actions.is_empty();
        plan.actions.extend(actions);
        if !set.is_terminating() && settled {
            plan.actions.extend(scale(set, active));
        }
        plan
    }
}

/// Creates or deletes pods until there are as many as wanted.
fn scale(set: &Object, mut active: Vec<SharedObject>) -> Vec<Action> {
    let wanted = int(set, &["spec", "replicas"]).unwrap_or(1).max(0);
    let wanted = usize::try_from(wanted).unwrap_or_default();
    if active.len() < wanted {
        let template = set.get(&["spec", "template"]).cloned().unwrap_or_default();
        let pod = pods::from_template(&template, set);
        let missing = (wanted - active.len()).min(BURST_MAX);
        return vec![Action::create(&PODS, set.namespace(), pod); missing];
    }
    let surplus = (active.len() - wanted).min(BURST_MAX);
    active.sort_by(|a, b| pods::by_deletion_rank(a, b));
    let surplus = active.iter().take(surplus);
    surplus.map(|pod| Action::delete(&PODS, pod)).collect()
}

impl ReplicaSetController {
    fn status(
        &self,
        set: &Object,
        active: &[SharedObject],
        terminating: usize,
        at: &Moment,
    ) -> Value {
        let min_ready = int(set, &["spec", "minReadySeconds"]).unwrap_or_default();
        let labels = set.get(&["spec", "template", "metadata", "labels"]);
        let labels = labels.and_then(Value::as_object);
        let labeled = active.iter().filter(|pod| {
            let mut labels = labels.into_iter().flatten();
            labels.all(|(key, value)| pod.label(key) == value.as_str())
        });
        let available = active
            .iter()
            .filter(|pod| pods::is_available(pod, min_ready, at.now));
        let mut status = json!({
            "replicas": active.len(), "fullyLabeledReplicas": labeled.count(),
            "readyReplicas": active.iter().filter(|pod| pods::is_ready(pod)).count(),
            "availableReplicas": available.count(),
            "observedGeneration": set.generation(),
        });
        if self.kind == "ReplicaSet" {
            status["terminatingReplicas"] = json!(terminating);
        }
        for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
            if status[field] == 0 {
                // The API omits these zeros, so that an unchanged status stays equal.
                status[field] = Value::Null;
            }
        }
        let mut conditions = list(set, &["status", "conditions"]).to_vec();
        match &at.last_error {
            Some(error) => set_condition(
                &mut conditions,
                &Condition {
                    kind: "ReplicaFailure",
                    status: "True",
                    reason: "FailedCreate",
                    message: error.clone(),
                },
                &[],
                at.now,
            ),
            None => conditions.retain(|known| text(known, "type") != "ReplicaFailure"),
        }
        if !conditions.is_empty() {
            status["conditions"] = Value::Array(conditions);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, moment};

    fn set(replicas: i64) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        })
    }

    fn shared(tree: Value) -> SharedObject {
        std::sync::Arc::new(Object::from_value(tree).expect("a map"))
    }

    #[test]
    fn a_pod_of_another_controller_is_left_alone() {
        let pod = |uid: &str, owner: Option<&str>| {
            let owners = owner.map(|uid| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true}]));
            shared(
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid, "namespace": "n", "uid": uid,
                "labels": {"app": "web"}, "ownerReferences": owners}}),
            )
        };
        let controller = ReplicaSetController::replica_sets();
        let state = |candidates| State {
            set: shared(set(1)),
            candidates,
        };
        let count = |plan: &Plan| {
            let of =
                |wanted: fn(&Action) -> bool| plan.actions.iter().filter(|a| wanted(a)).count();
            (
                of(|a| matches!(a, Action::Create { .. })),
                of(|a| matches!(a, Action::Adopt { .. })),
                of(|a| matches!(a, Action::Delete { .. })),
            )
        };
        let table = [
            (vec![], (1, 0, 0)),
            (vec![pod("other", Some("v"))], (1, 0, 0)),
            (vec![pod("mine", Some("u"))], (0, 0, 0)),
            (vec![pod("orphan", None)], (0, 1, 0)),
            (vec![pod("a", Some("u")), pod("b", Some("u"))], (0, 0, 1)),
        ];
        for (candidates, expected) in table {
            let plan = controller.plan(&state(candidates), &moment());
            assert_eq!(count(&plan), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_scales_up_and_down_and_never_doubles_under_stale_caches() {
        let scenario = Scenario::start(&["replicaset-controller"]).await;
        scenario.create(&REPLICA_SETS, set(5)).await;
        scenario.until(|api| api.objects(&PODS).len() == 5).await;
        scenario.api.hold_watches(true);
        let mut tree = scenario.get(&REPLICA_SETS, "n/web").to_value();
        tree["spec"]["replicas"] = json!(8);
        scenario.update(&REPLICA_SETS, tree).await;
        scenario.settle().await;
        scenario.api.hold_watches(false);
        scenario.until(|api| api.objects(&PODS).len() == 8).await;
        scenario.settle().await;
        assert_eq!(scenario.api.objects(&PODS).len(), 8);
        let mut tree = scenario.get(&REPLICA_SETS, "n/web").to_value();
        tree["spec"]["replicas"] = json!(2);
        scenario.update(&REPLICA_SETS, tree).await;
        scenario.until(|api| api.objects(&PODS).len() == 2).await;
        let created = scenario
            .api
            .writes()
            .iter()
            .filter(|w| w.starts_with("create pods"))
            .count();
        assert_eq!(created, 8);
        scenario
            .until_status(&REPLICA_SETS, "n/web", |status| status["replicas"] == 2)
            .await;
    }
}

//! Deployments: a ReplicaSet a template, and an orderly way from one to the next.

mod rollout;
mod sets;
mod status;

use crate::controller::{Context, selector_of};
use crate::owners::claim;
use crate::{Action, Moment, Plan, Reconciler, Watch, pods, revisions};
use async_trait::async_trait;
use kontiki_client::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use kontiki_client::{Delta, EventType};
use kontiki_object::{GroupVersionResource, SharedObject, Status};
use serde_json::json;
use sets::{Sets, Spec};

pub(crate) struct DeploymentController;

pub(crate) struct State {
    deployment: SharedObject,
    candidates: Vec<SharedObject>,
    /// The pods of all its ReplicaSets: `Recreate` waits for the old ones.
    pods: Vec<SharedObject>,
    /// Whatever has the name that the ReplicaSet of the template would get.
    namesake: Option<SharedObject>,
}

/// The deployment above a pod's ReplicaSet, when the pod goes or ends: that is
/// what `Recreate` waits for.
fn of_pod(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let gone = delta.new.as_ref().is_none_or(|pod| pods::is_terminal(pod));
    let pod = delta.object();
    let Some(set) = pod
        .controller_of()
        .filter(|owner| gone && owner.kind == "ReplicaSet")
    else {
        return Vec::new();
    };
    let set = context
        .caches
        .get(&REPLICA_SETS, pod.namespace(), &set.name);
    let owner = set.and_then(|set| set.controller_of());
    let owner = owner.filter(|owner| owner.kind == "Deployment");
    owner
        .map(|owner| format!("{}/{}", pod.namespace(), owner.name))
        .into_iter()
        .collect()
}

#[async_trait]
impl Reconciler for DeploymentController {
    type State = State;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(DEPLOYMENTS),
            Watch::owned(REPLICA_SETS, "Deployment", DEPLOYMENTS),
            Watch::map(PODS, of_pod),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(deployment) = context.caches.of(&DEPLOYMENTS).get(key) else {
            return Ok(None);
        };
        let candidates = context.caches.claimable(&REPLICA_SETS, &deployment);
        let pods = candidates
            .iter()
            .flat_map(|set| context.caches.owned(&PODS, set.uid()));
        let name = sets::name_for_template(&deployment);
        let namesake = context
            .caches
            .get(&REPLICA_SETS, deployment.namespace(), &name);
        Ok(Some(State {
            pods: pods.collect(),
            deployment,
            candidates,
            namesake,
        }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let deployment = &state.deployment;
        let selector = selector_of(deployment);
        let candidates = state.candidates.clone();
        let claimed = claim(
            &DEPLOYMENTS,
            deployment,
            &REPLICA_SETS,
            &selector,
            candidates,
        );
        if !claimed.actions.is_empty() {
            return Plan::of(claimed.actions);
        }
        let spec = Spec::of(deployment);
        let mut sets = Sets::of(deployment, claimed.owned);
        let mut plan = Plan::nothing();
        if !deployment.is_terminating() {
            if let Some(plan) = collision(state, &sets) {
                return plan;
            }
            if spec.paused || sets.scaling_needed(&spec) {
                sets.scale(&spec);
            } else if spec.recreate {
                rollout::recreate(&mut sets, &spec, &state.pods);
            } else {
                rollout::rolling(&mut sets, &spec);
            }
            sets.write(deployment, &spec, &mut plan);
        }
        if plan.actions.is_empty() && sets.revision.is_none() {
            status::plan(deployment, &spec, &sets, at, &mut plan);
        } else {
            status::tell_sets(deployment, &sets, at, &mut plan);
        }
        plan
    }
}

/// Two templates of one hash, or a stranger's ReplicaSet of that name: count
/// one up, so that the hash changes.
fn collision(state: &State, sets: &Sets) -> Option<Plan> {
    state.namesake.as_ref().filter(|_| sets.new.is_none())?;
    let deployment = &state.deployment;
    let mut status = deployment
        .get(&["status"])
        .cloned()
        .unwrap_or_else(|| json!({}));
    let count = status["collisionCount"].as_i64().unwrap_or_default();
    status["collisionCount"] = json!(count + 1);
    let mut plan = Plan::of(Action::status(&DEPLOYMENTS, deployment, status));
    let hash = revisions::hash(&deployment.get(&["spec", "template"])?.clone(), Some(count));
    let message = format!(
        "the template hash {hash} was taken; collision count is {}",
        count + 1
    );
    plan.event(deployment, EventType::Normal, "HashCollision", message);
    Some(plan)
}

#[cfg(test)]
mod tests;

//! StatefulSets: pods with names and volumes of their own, one after another.

mod identity;

use crate::controller::{Context, selector_of};
use crate::fields::{int, list};
use crate::owners::claim;
use crate::revisions::{History, REVISION_LABEL};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use identity::{ordinal, pod_name};
use kontiki_client::EventType;
use kontiki_client::resources::{
    CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS,
};
use kontiki_object::{SharedObject, Status, Value};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct StatefulSetController;

pub(crate) struct State {
    set: SharedObject,
    pods: Vec<SharedObject>,
    revisions: Vec<SharedObject>,
    /// Names of the claims in the namespace.
    claims: BTreeSet<String>,
}

#[async_trait]
impl Reconciler for StatefulSetController {
    type State = State;

    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(STATEFUL_SETS),
            Watch::owned(PODS, "StatefulSet", STATEFUL_SETS),
            Watch::owned(CONTROLLER_REVISIONS, "StatefulSet", STATEFUL_SETS),
            Watch::read(PERSISTENT_VOLUME_CLAIMS),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(set) = context.caches.of(&STATEFUL_SETS).get(key) else {
            return Ok(None);
        };
        let claims = context
            .caches
            .of(&PERSISTENT_VOLUME_CLAIMS)
            .list_namespace(set.namespace());
        Ok(Some(State {
            pods: context.caches.claimable(&PODS, &set),
            revisions: context.caches.owned(&CONTROLLER_REVISIONS, set.uid()),
            claims: claims.iter().map(|claim| claim.name().to_owned()).collect(),
            set,
        }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let set = &state.set;
        // Only a pod that is named like one of the set can be one.
        let named = state
            .pods
            .iter()
            .filter(|pod| ordinal(set, pod).is_some())
            .cloned();
        let selector = selector_of(set);
        let claimed = claim(&STATEFUL_SETS, set, &PODS, &selector, named.collect());
        if !claimed.actions.is_empty() {
            return Plan::of(claimed.actions);
        }
        let history = History::of(set, state.revisions.clone());
        if set.is_terminating() || !history.actions.is_empty() {
            return Plan::of(
                history
                    .actions
                    .into_iter()
                    .filter(|_| !set.is_terminating()),
            );
        }
        let Some(update) = history.current.clone() else {
            return Plan::nothing();
        };
        let stored = set.str_at(&["status", "currentRevision"]);
        let current = history.revisions.iter().find(|r| Some(r.name()) == stored);
        let set_state = Replicas {
            set,
            pods: claimed
                .owned
                .iter()
                .filter_map(|pod| Some((ordinal(set, pod)?, pod)))
                .collect(),
            current: current.cloned().unwrap_or_else(|| update.clone()),
            update,
            claims: &state.claims,
            min_ready: int(set, &["spec", "minReadySeconds"]).unwrap_or_default(),
            at,
        };
        let mut plan = Plan {
            requeue_after: pods::next_available(&claimed.owned, set_state.min_ready, at.now),
            ..Plan::default()
        };
        plan.actions
            .extend(Action::status(&STATEFUL_SETS, set, set_state.status()));
        set_state.advance(&mut plan);
        let in_use = |revision: &kontiki_object::Object| {
            revision.name() == set_state.current.name()
                || claimed
                    .owned
                    .iter()
                    .any(|pod| pod.label(REVISION_LABEL) == Some(revision.name()))
        };
        plan.actions.extend(history.truncate(set, in_use));
        plan
    }
}

/// A set's pods by ordinal, and the two revisions between which it may be.
struct Replicas<'a> {
    set: &'a SharedObject,
    pods: BTreeMap<i64, &'a SharedObject>,
    current: SharedObject,
    update: SharedObject,
    claims: &'a BTreeSet<String>,
    min_ready: i64,
    at: &'a Moment,
}

impl Replicas<'_> {
    fn start(&self) -> i64 {
        int(self.set, &["spec", "ordinals", "start"]).unwrap_or_default()
    }

    fn wanted(&self) -> std::ops::Range<i64> {
        let replicas = int(self.set, &["spec", "replicas"]).unwrap_or(1).max(0);
        self.start()..self.start() + replicas
    }

    fn is_ordered(&self) -> bool {
        self.set.str_at(&["spec", "podManagementPolicy"]) != Some("Parallel")
    }

    fn partition(&self) -> i64 {
        let path = ["spec", "updateStrategy", "rollingUpdate", "partition"];
        int(self.set, &path).unwrap_or_default()
    }

    fn rolls(&self) -> bool {
        self.set.str_at(&["spec", "updateStrategy", "type"]) != Some("OnDelete")
    }

    fn is_at(&self, pod: &SharedObject, revision: &SharedObject) -> bool {
        pod.label(REVISION_LABEL) == Some(revision.name())
    }

    fn is_healthy(&self, pod: &SharedObject) -> bool {
        !pod.is_terminating() && pods::is_available(pod, self.min_ready, self.at.now)
    }

    /// The revision that a pod of an ordinal is made of: below the partition, and
    /// where the update has not come yet, the current one.
    fn revision_for(&self, ordinal: i64) -> &SharedObject {
        if self.current.name() == self.update.name() {
            return &self.update;
        }
        let mut old = self
            .pods
            .iter()
            .filter(|(_, pod)| self.is_at(pod, &self.current));
        let behind = self.rolls() && old.any(|(known, _)| *known > ordinal);
        let held = !self.rolls() || ordinal < self.start() + self.partition();
        if held || behind {
            &self.current
        } else {
            &self.update
        }
    }

    /// Does the next step, and in order only one.
    fn advance(&self, plan: &mut Plan) {
        for ordinal in self.wanted() {
            let Some(pod) = self.pods.get(&ordinal) else {
                self.create(ordinal, plan);
                if self.is_ordered() {
                    return;
                }
                continue;
            };
            if pods::is_terminal(pod) && !pod.is_terminating() {
                plan.actions.push(Action::delete(&PODS, pod));
                let message = format!(
                    "StatefulSet {} is recreating failed Pod {}",
                    self.set.key(),
                    pod.name()
                );
                plan.event(self.set, EventType::Warning, "RecreatingFailedPod", message);
                if self.is_ordered() {
                    return;
                }
                continue;
            }
            self.create_claims(ordinal, plan);
            if self.is_ordered() && !self.is_healthy(pod) && !self.may_replace(ordinal, pod) {
                return;
            }
        }
        if self.shrink(plan) {
            return;
        }
        if self.rolls() {
            self.roll(plan);
        }
    }

    /// A pod of an old revision that never becomes ready must not block the
    /// update that would repair it.
    fn may_replace(&self, ordinal: i64, pod: &SharedObject) -> bool {
        self.rolls()
            && !pod.is_terminating()
            && ordinal >= self.start() + self.partition()
            && !self.is_at(pod, &self.update)
    }

    fn create_claims(&self, ordinal: i64, plan: &mut Plan) {
        for claim in identity::claims(self.set, ordinal) {
            let name = claim["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !self.claims.contains(&name) {
                let message = format!(
                    "create Claim {name} Pod {} in StatefulSet {} success",
                    pod_name(self.set, ordinal),
                    self.set.name()
                );
                let action = Action::create(&PERSISTENT_VOLUME_CLAIMS, self.set.namespace(), claim);
                plan.actions.push(action);
                plan.event(self.set, EventType::Normal, "SuccessfulCreate", message);
            }
        }
    }

    fn create(&self, ordinal: i64, plan: &mut Plan) {
        self.create_claims(ordinal, plan);
        let pod = identity::pod(self.set, ordinal, self.revision_for(ordinal));
        plan.actions
            .push(Action::create(&PODS, self.set.namespace(), pod));
        let message = format!(
            "create Pod {} in StatefulSet {} successful",
            pod_name(self.set, ordinal),
            self.set.name()
        );
        plan.event(self.set, EventType::Normal, "SuccessfulCreate", message);
    }

    fn delete(&self, pod: &SharedObject, plan: &mut Plan) {
        plan.actions.push(Action::delete(&PODS, pod));
        let message = format!(
            "delete Pod {} in StatefulSet {} successful",
            pod.name(),
            self.set.name()
        );
        plan.event(self.set, EventType::Normal, "SuccessfulDelete", message);
    }

    /// Deletes pods beyond the wanted number, the highest first; whether there
    /// are any.
    fn shrink(&self, plan: &mut Plan) -> bool {
        let wanted = self.wanted();
        let surplus: Vec<&SharedObject> = self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| !wanted.contains(ordinal))
            .map(|(_, pod)| *pod)
            .collect();
        for pod in &surplus {
            if pod.is_terminating() {
                if self.is_ordered() {
                    return true;
                }
                continue;
            }
            self.delete(pod, plan);
            if self.is_ordered() {
                return true;
            }
        }
        !surplus.is_empty() && self.is_ordered()
    }

    /// Replaces the highest pod that is not of the update revision, unless a
    /// higher one is not healthy yet.
    fn roll(&self, plan: &mut Plan) {
        if self.current.name() == self.update.name()
            && self.pods.values().all(|pod| self.is_at(pod, &self.update))
        {
            return;
        }
        let first = self.start() + self.partition();
        for ordinal in self.wanted().rev().filter(|ordinal| *ordinal >= first) {
            let Some(pod) = self.pods.get(&ordinal) else {
                return;
            };
            if !self.is_at(pod, &self.update) && !pod.is_terminating() {
                return self.delete(pod, plan);
            }
            if !self.is_healthy(pod) {
                return;
            }
        }
    }

    fn status(&self) -> Value {
        let wanted = self.wanted();
        let alive: Vec<&SharedObject> = self
            .pods
            .values()
            .copied()
            .filter(|pod| !pods::is_terminal(pod))
            .collect();
        let count = |wanted: &dyn Fn(&SharedObject) -> bool| -> i64 {
            i64::try_from(alive.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i64::MAX)
        };
        let live = |pod: &SharedObject| !pod.is_terminating();
        let ready = count(&|pod| pods::is_ready(pod));
        let mut current = count(&|pod| live(pod) && self.is_at(pod, &self.current));
        let updated = count(&|pod| live(pod) && self.is_at(pod, &self.update));
        let total = i64::try_from(alive.len()).unwrap_or(i64::MAX);
        let replicas = wanted.end - wanted.start;
        let mut current_name = self.current.name();
        let complete = updated == total && ready == total && updated == replicas;
        if self.rolls() && complete {
            current = updated;
            current_name = self.update.name();
        }
        let zero_is_absent = |count: i64| {
            if count == 0 {
                Value::Null
            } else {
                json!(count)
            }
        };
        let mut status = json!({
            "observedGeneration": self.set.generation(), "replicas": total,
            "readyReplicas": zero_is_absent(ready),
            "availableReplicas": count(&|pod| self.is_healthy(pod)),
            "currentReplicas": zero_is_absent(current),
            "updatedReplicas": zero_is_absent(updated),
            "currentRevision": current_name, "updateRevision": self.update.name(),
            "collisionCount": int(self.set, &["status", "collisionCount"]).unwrap_or_default(),
        });
        let conditions = list(self.set, &["status", "conditions"]);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        status
    }
}

#[cfg(test)]
mod tests;

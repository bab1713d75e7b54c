//! DaemonSets: one pod on every node that suits.

mod placement;

use crate::controller::{Context, selector_of};
use crate::fields::{int, list, share};
use crate::owners::claim;
use crate::revisions::{History, REVISION_LABEL};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_client::resources::{CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS};
use kontiki_client::{Delta, EventType};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, Value};
use placement::Fit;
use serde_json::json;
use std::collections::BTreeMap;

/// A failed pod is replaced after this time, not at once and over and over.
const REPLACE_FAILED_AFTER: SignedDuration = SignedDuration::from_secs(10);
const CREATE_MAX: usize = 250;

pub(crate) struct DaemonSetController;

pub(crate) struct State {
    set: SharedObject,
    pods: Vec<SharedObject>,
    revisions: Vec<SharedObject>,
    nodes: Vec<SharedObject>,
}

/// All DaemonSets, when a node changes in what decides where pods may run.
fn of_node(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let relevant = |node: &SharedObject| {
        let labels: Vec<(String, String)> = node
            .labels()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        (labels, node.get(&["spec"]).cloned())
    };
    if delta.old.as_ref().map(relevant) == delta.new.as_ref().map(relevant) {
        return Vec::new();
    }
    let sets = context.caches.of(&DAEMON_SETS).list();
    sets.iter().map(|set| set.key()).collect()
}

#[async_trait]
impl Reconciler for DaemonSetController {
    type State = State;

    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(DAEMON_SETS),
            Watch::owned(PODS, "DaemonSet", DAEMON_SETS),
            Watch::owned(CONTROLLER_REVISIONS, "DaemonSet", DAEMON_SETS),
            Watch::map(NODES, of_node),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(set) = context.caches.of(&DAEMON_SETS).get(key) else {
            return Ok(None);
        };
        Ok(Some(State {
            pods: context.caches.claimable(&PODS, &set),
            revisions: context.caches.owned(&CONTROLLER_REVISIONS, set.uid()),
            nodes: context.caches.of(&NODES).list(),
            set,
        }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let set = &state.set;
        let selector = selector_of(set);
        if selector.is_everything() {
            return Plan::nothing();
        }
        let claimed = claim(&DAEMON_SETS, set, &PODS, &selector, state.pods.clone());
        if !claimed.actions.is_empty() {
            return Plan::of(claimed.actions);
        }
        if set.is_terminating() {
            return Plan::nothing();
        }
        let history = History::of(set, state.revisions.clone());
        let mut plan = Plan {
            report: Some(set.clone()),
            actions: history.actions.clone(),
            ..Plan::default()
        };
        let min_ready = int(set, &["spec", "minReadySeconds"]).unwrap_or_default();
        plan.requeue_after = pods::next_available(&claimed.owned, min_ready, at.now);
        let world = World::new(
            set,
            &state.nodes,
            &claimed.owned,
            &history.hash,
            min_ready,
            at,
        );
        plan.actions
            .extend(Action::status(&DAEMON_SETS, set, world.status()));
        let mut changes = Changes::default();
        world.manage(&mut changes, &mut plan);
        if changes.is_empty() && set.str_at(&["spec", "updateStrategy", "type"]) != Some("OnDelete")
        {
            world.roll(&mut changes);
        }
        plan.actions
            .extend(changes.delete.iter().map(|pod| Action::delete(&PODS, pod)));
        for node in changes.create.into_iter().take(CREATE_MAX) {
            let pod = placement::pod_for(set, &node, &history.hash);
            plan.actions
                .push(Action::create(&PODS, set.namespace(), pod));
        }
        let used = |revision: &Object| {
            let hash = revision.label(REVISION_LABEL);
            claimed
                .owned
                .iter()
                .any(|pod| pod.label(REVISION_LABEL) == hash)
        };
        plan.actions.extend(history.truncate(set, used));
        plan
    }
}

#[derive(Default)]
struct Changes {
    create: Vec<String>,
    delete: Vec<SharedObject>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

/// A DaemonSet's nodes and pods.
struct World<'a> {
    set: &'a SharedObject,
    /// Node → whether a pod may start and may stay.
    fits: BTreeMap<&'a str, Fit>,
    /// Node → pods there or meant for there, oldest first.
    on: BTreeMap<&'a str, Vec<&'a SharedObject>>,
    hash: &'a str,
    min_ready: i64,
    at: &'a Moment,
}

impl<'a> World<'a> {
    fn new(
        set: &'a SharedObject,
        nodes: &'a [SharedObject],
        pods: &'a [SharedObject],
        hash: &'a str,
        min_ready: i64,
        at: &'a Moment,
    ) -> Self {
        let fits = nodes
            .iter()
            .map(|node| (node.name(), Fit::of(set, node)))
            .collect();
        let mut on: BTreeMap<&str, Vec<&SharedObject>> = BTreeMap::new();
        for pod in pods {
            on.entry(placement::target(pod).unwrap_or_default())
                .or_default()
                .push(pod);
        }
        for pods in on.values_mut() {
            pods.sort_by_key(|pod| (pods::node(pod).is_none(), pod.created_at()));
        }
        Self {
            set,
            fits,
            on,
            hash,
            min_ready,
            at,
        }
    }

    fn is_updated(&self, pod: &Object) -> bool {
        pod.label(REVISION_LABEL) == Some(self.hash)
    }

    fn is_available(&self, pod: &Object) -> bool {
        !pod.is_terminating() && pods::is_available(pod, self.min_ready, self.at.now)
    }

    fn pods_on(&self, node: &str) -> &[&'a SharedObject] {
        self.on.get(node).map_or(&[], Vec::as_slice)
    }

    /// Creates what is missing, deletes what is too much or in the wrong place.
    fn manage(&self, changes: &mut Changes, plan: &mut Plan) {
        for (node, fit) in &self.fits {
            let pods = self.pods_on(node);
            if !fit.stay {
                changes.delete.extend(alive(pods));
                continue;
            }
            let mut running: Vec<&SharedObject> = Vec::new();
            for pod in pods.iter().copied().filter(|pod| !pod.is_terminating()) {
                if !pods::is_terminal(pod) {
                    running.push(pod);
                    continue;
                }
                let due = pods::finished_at(pod).unwrap_or(self.at.now) + REPLACE_FAILED_AFTER;
                if due > self.at.now {
                    plan.requeue(crate::fields::until(due, self.at.now));
                    continue;
                }
                changes.delete.push(pod.clone());
                let message = format!(
                    "Found failed daemon pod {} on node {node}, will try to kill it",
                    pod.key()
                );
                plan.event(self.set, EventType::Warning, "FailedDaemonPod", message);
            }
            if pods.is_empty() && fit.start {
                changes.create.push((*node).to_owned());
            }
            // While surging an old and a new one are both wanted.
            let allowed = if self.max_surge() > 0 { 2 } else { 1 };
            changes
                .delete
                .extend(running.into_iter().skip(allowed).cloned());
        }
        for (node, pods) in &self.on {
            if !self.fits.contains_key(node) {
                let unbound = pods.iter().copied().filter(|pod| pods::node(pod).is_none());
                let unbound: Vec<&SharedObject> = unbound.collect();
                changes.delete.extend(alive(&unbound));
            }
        }
    }

    fn desired(&self) -> i64 {
        let desired = self.fits.values().filter(|fit| fit.start).count();
        i64::try_from(desired).unwrap_or(i64::MAX)
    }

    fn knob(&self, name: &str) -> Option<&Value> {
        self.set
            .get(&["spec", "updateStrategy", "rollingUpdate", name])
    }

    fn max_surge(&self) -> i64 {
        share(self.knob("maxSurge"), "0", self.desired(), true)
    }

    /// One step of a rolling update.
    fn roll(&self, changes: &mut Changes) {
        let surge = self.max_surge();
        let mut unavailable = share(self.knob("maxUnavailable"), "1", self.desired(), true);
        if surge == 0 {
            unavailable = unavailable.max(1);
        }
        let wanted = self
            .fits
            .iter()
            .filter(|(_, fit)| fit.start)
            .map(|(node, _)| *node);
        let nodes: Vec<&str> = wanted.collect();
        if surge > 0 {
            return self.roll_with_surge(&nodes, surge, changes);
        }
        let mut budget = unavailable;
        for node in &nodes {
            let available = self.pods_on(node).iter().any(|pod| self.is_available(pod));
            budget -= i64::from(!available);
        }
        for node in nodes {
            for pod in alive(self.pods_on(node)).filter(|pod| !self.is_updated(pod)) {
                // One that does not work anyway costs no availability.
                if !self.is_available(&pod) {
                    changes.delete.push(pod);
                } else if budget > 0 {
                    budget -= 1;
                    changes.delete.push(pod);
                }
            }
        }
    }

    fn roll_with_surge(&self, nodes: &[&str], surge: i64, changes: &mut Changes) {
        let mut surging = 0;
        let mut waiting = Vec::new();
        for node in nodes {
            let pods: Vec<SharedObject> = alive(self.pods_on(node)).collect();
            let old = pods.iter().find(|pod| !self.is_updated(pod));
            let new = pods.iter().find(|pod| self.is_updated(pod));
            match (old, new) {
                (Some(old), Some(new)) if self.is_available(new) => {
                    changes.delete.push(old.clone())
                }
                (Some(_), Some(_)) => surging += 1,
                (Some(_), None) => waiting.push((*node).to_owned()),
                _ => {}
            }
        }
        let room = usize::try_from(surge - surging).unwrap_or_default();
        changes.create.extend(waiting.into_iter().take(room));
    }

    fn status(&self) -> Value {
        let (mut current, mut misplaced, mut ready, mut updated, mut available) = (0, 0, 0, 0, 0);
        for (node, fit) in &self.fits {
            let pods: Vec<SharedObject> = alive(self.pods_on(node)).collect();
            if !fit.start {
                misplaced += i64::from(!pods.is_empty());
                continue;
            }
            current += i64::from(!pods.is_empty());
            ready += i64::from(pods.iter().any(|pod| pods::is_ready(pod)));
            available += i64::from(pods.iter().any(|pod| self.is_available(pod)));
            updated += i64::from(pods.iter().any(|pod| self.is_updated(pod)));
        }
        let desired = self.desired();
        let zero_is_absent = |count: i64| {
            if count == 0 {
                Value::Null
            } else {
                json!(count)
            }
        };
        let mut status = json!({
            "currentNumberScheduled": current, "numberMisscheduled": misplaced,
            "desiredNumberScheduled": desired, "numberReady": ready,
            "observedGeneration": self.set.generation(),
            "updatedNumberScheduled": zero_is_absent(updated),
            "numberAvailable": zero_is_absent(available),
            "numberUnavailable": zero_is_absent(desired - available),
            "collisionCount": int(self.set, &["status", "collisionCount"]),
        });
        let conditions = list(self.set, &["status", "conditions"]);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        status
    }
}

fn alive(pods: &[&SharedObject]) -> impl Iterator<Item = SharedObject> {
    let alive: Vec<SharedObject> = pods
        .iter()
        .filter(|pod| !pod.is_terminating())
        .map(|pod| (*pod).clone())
        .collect();
    alive.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn node(name: &str, labels: Value, taints: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}})
    }

    fn set(image: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"selector": {"matchLabels": {"app": "d"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {
                    "nodeSelector": {"disk": "fast"}, "containers": [{"name": "c", "image": image}]}}},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn every_suitable_node_has_one_pod_and_updates_go_node_by_node() {
        let scenario = Scenario::start(&["daemonset-controller"]).await;
        let fast = json!({"disk": "fast"});
        for name in ["a", "b", "c"] {
            scenario
                .create(&NODES, node(name, fast.clone(), json!([])))
                .await;
        }
        scenario
            .create(&NODES, node("slow", json!({}), json!([])))
            .await;
        let taint = json!([{"key": "x", "effect": "NoSchedule"}]);
        scenario
            .create(&NODES, node("tainted", fast.clone(), taint))
            .await;
        scenario.create(&DAEMON_SETS, set("v1")).await;
        scenario.run_pods("Running");
        let done = |status: &Value, count: i64| {
            [
                "desiredNumberScheduled",
                "numberAvailable",
                "updatedNumberScheduled",
            ]
            .iter()
            .all(|field| status[*field] == count)
        };
        scenario
            .until_status(&DAEMON_SETS, "n/d", |status| done(status, 3))
            .await;
        let mut tree = scenario.get(&DAEMON_SETS, "n/d").to_value();
        tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        scenario.update(&DAEMON_SETS, tree).await;
        scenario
            .until(|api| {
                let ready = api
                    .objects(&PODS)
                    .iter()
                    .filter(|pod| pods::is_ready(pod))
                    .count();
                assert!(ready >= 2, "one node at a time");
                let pods = api.objects(&PODS);
                pods.len() == 3
                    && pods.iter().all(|pod| {
                        pods::is_ready(pod)
                            && pod.to_value()["spec"]["containers"][0]["image"] == "v2"
                    })
            })
            .await;
        scenario.create(&NODES, node("late", fast, json!([]))).await;
        scenario
            .until_status(&DAEMON_SETS, "n/d", |status| done(status, 4))
            .await;
    }
}

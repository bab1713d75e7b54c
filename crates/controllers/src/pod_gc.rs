//! Deletes pods that nobody else will: on nodes that are gone, deleted before
//! they were bound, and long ended ones beyond a number.

use crate::controller::Context;
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kontiki_client::resources::{NODES, PODS};
use kontiki_client::{DeleteOptions, Delta};
use kontiki_object::{GroupVersionResource, SharedObject, Status};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// A node that is gone may come back within this time.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const TERMINATED: &str = "";

#[derive(Default)]
pub(crate) struct PodGarbageCollector {
    /// Since when each missing node was seen missing by this process.
    missing_since: Mutex<HashMap<String, Timestamp>>,
}

pub(crate) enum State {
    /// Ended pods beyond the threshold.
    Surplus(Vec<SharedObject>),
    /// A pod that waits for nobody.
    Stray(SharedObject),
    /// A pod on a node that is gone since then.
    Lost(SharedObject, Timestamp),
}

fn of_pod(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let Some(pod) = &delta.new else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    if pods::is_terminal(pod) && !delta.old.as_ref().is_some_and(|old| pods::is_terminal(old)) {
        keys.push(TERMINATED.to_owned());
    }
    let lost = match pods::node(pod) {
        Some(node) => context.caches.get(&NODES, "", node).is_none(),
        None => pod.is_terminating(),
    };
    if lost {
        keys.push(pod.key());
    }
    keys
}

fn of_node(context: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    if delta.new.is_some() {
        return Vec::new();
    }
    let pods = context.caches.on_node(&PODS, delta.object().name());
    pods.iter().map(|pod| pod.key()).collect()
}

#[async_trait]
impl Reconciler for PodGarbageCollector {
    type State = State;

    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::map(PODS, of_pod), Watch::map(NODES, of_node)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        if key == TERMINATED {
            return Ok(surplus(context));
        }
        let Some(pod) = context.caches.of(&PODS).get(key) else {
            return Ok(None);
        };
        let Some(node) = pods::node(&pod) else {
            return Ok(pod.is_terminating().then_some(State::Stray(pod)));
        };
        let cached = context.caches.get(&NODES, "", node).is_some();
        if cached
            || context
                .client
                .resource(&NODES)
                .get_opt(node)
                .await?
                .is_some()
        {
            self.missing_since.lock().remove(node);
            return Ok(None);
        }
        let now = context.clock.now();
        let since = *self
            .missing_since
            .lock()
            .entry(node.to_owned())
            .or_insert(now);
        Ok(Some(State::Lost(pod, since)))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        match state {
            State::Surplus(pods) => Plan::of(pods.iter().map(delete_now)),
            State::Stray(pod) => Plan::of([delete_now(pod)]),
            State::Lost(pod, since) => {
                let due = *since + QUARANTINE;
                if due > at.now {
                    let wait = crate::fields::until(due, at.now) + Duration::from_millis(1);
                    return Plan {
                        requeue_after: Some(wait),
                        ..Plan::default()
                    };
                }
                let mut actions = Vec::new();
                if !pods::is_terminal(pod) {
                    // Whoever counts ended pods (a Job) has to see that it ended.
                    actions.push(Action::Patch {
                        resource: PODS,
                        namespace: pod.namespace().to_owned(),
                        name: pod.name().to_owned(),
                        status: true,
                        patch: json!({"metadata": {"uid": pod.uid()}, "status": {"phase": "Failed"}}),
                    });
                }
                actions.push(delete_now(pod));
                Plan::of(actions)
            }
        }
    }
}

fn surplus(context: &Context) -> Option<State> {
    let threshold = context.config.terminated_pod_gc_threshold;
    let mut ended = context.caches.of(&PODS).list();
    ended.retain(|pod| pods::is_terminal(pod));
    if threshold == 0 || ended.len() <= threshold {
        return None;
    }
    ended.sort_by_key(|pod| (pod.created_at(), pod.name().to_owned()));
    ended.truncate(ended.len() - threshold);
    Some(State::Surplus(ended))
}

fn delete_now(pod: &SharedObject) -> Action {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    Action::delete_with(&PODS, pod, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[tokio::test(start_paused = true)]
    async fn a_pod_on_a_vanished_node_goes_after_the_quarantine() {
        let name = ["pod-garbage-collector-controller"];
        let scenario = Scenario::with(&name, |config| config.terminated_pod_gc_threshold = 2).await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}});
        scenario.create(&NODES, node).await;
        let pod = |name: &str, phase: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
                "spec": {"nodeName": "x"}, "status": {"phase": phase}})
        };
        scenario.create(&PODS, pod("runs", "Running")).await;
        for name in ["a", "b", "c", "d"] {
            scenario.create(&PODS, pod(name, "Succeeded")).await;
        }
        scenario.until(|api| api.objects(&PODS).len() == 3).await;
        scenario.delete(&NODES, "x", DeleteOptions::default()).await;
        scenario.settle().await;
        assert_eq!(scenario.api.objects(&PODS).len(), 3);
        scenario.until(|api| api.objects(&PODS).is_empty()).await;
    }
}

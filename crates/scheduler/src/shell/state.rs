//! Cache and queue together: what a change means for both, and the next decision.

use super::carry_out::Outcome;
use crate::cache::Cache;
use crate::config::Config;
use crate::decide::{Unschedulable, decide};
use crate::framework::{Event, Plugin};
use crate::plugins;
use crate::pod::Pod;
use crate::preemption::preempt;
use crate::queue::{Next, Queue};
use k8s_openapi::api::core::v1::Node;
use kontiki_client::Delta;
use kontiki_object::SharedObject;
use rand::rngs::StdRng;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::time::Instant;

/// Every plugin, for hints and gates.
static PLUGINS: [&dyn Plugin; plugins::ALL.len()] = plugins::ALL;

/// What was decided about a pod.
pub(super) struct Decision {
    /// The pod.
    pub pod: Arc<Pod>,
    /// How many attempts there were.
    pub attempts: u32,
    /// Where it goes.
    pub node: Option<String>,
    /// Why it goes nowhere.
    pub refusal: Option<Unschedulable>,
    /// Pods that make room for it.
    pub victims: Vec<Arc<Pod>>,
    /// Where they make room.
    pub nominated: Option<String>,
}

/// See the module.
pub(super) struct State {
    config: Config,
    cache: Cache,
    queue: Queue,
    rng: StdRng,
    /// Pods for which room is being made, on the node where it is made.
    nominated: HashMap<String, Arc<Pod>>,
}

impl State {
    pub(super) fn new(config: Config, rng: StdRng) -> Self {
        Self {
            queue: Queue::new(&PLUGINS, config.backoff_initial, config.backoff_max),
            cache: Cache::default(),
            nominated: HashMap::new(),
            config,
            rng,
        }
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.queue.wakes_at()
    }

    pub(super) fn queue_sizes(&self) -> [(&'static str, usize); 4] {
        self.queue.sizes()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.cache.expire(now) > 0 {
            tracing::warn!("an assignment was written but never shown; it counts no more");
            self.queue.happened(&Event::PodLeft, now);
        }
    }

    pub(super) fn node_changed(&mut self, delta: &Delta, now: Instant) {
        let Some(object) = &delta.new else {
            self.cache.remove_node(delta.object().name());
            return;
        };
        match object.typed::<Node>() {
            Ok(node) => {
                if let Some(change) = self.cache.set_node(object.name(), &node) {
                    self.queue.happened(&Event::Node(change), now);
                }
            }
            Err(error) => {
                tracing::warn!(node = object.name(), %error, "left a node out that cannot be read");
            }
        }
    }

    pub(super) fn pod_changed(&mut self, delta: &Delta, now: Instant) {
        match &delta.new {
            Some(object) => self.set_pod(object, now),
            None => self.forget_pod(&delta.object().key(), now),
        }
    }

    fn forget_pod(&mut self, key: &str, now: Instant) {
        self.queue.remove(key);
        self.nominated.remove(key);
        if self.cache.remove_pod(key) {
            self.queue.happened(&Event::PodLeft, now);
        }
    }

    fn set_pod(&mut self, object: &SharedObject, now: Instant) {
        let pod = match Pod::parse(object.clone()) {
            Ok(pod) => pod,
            Err(error) => {
                tracing::warn!(pod = object.key(), %error, "left a pod out that cannot be read");
                return;
            }
        };
        if pod.has_ended() {
            self.forget_pod(&pod.key, now);
        } else if !pod.node.is_empty() {
            let arrived = !self.cache.has_pod(&pod.key);
            self.queue.remove(&pod.key);
            self.nominated.remove(&pod.key);
            self.cache.set_pod(pod);
            if arrived {
                self.queue.happened(&Event::PodArrived, now);
            } else {
                // It may ask for less, or have other labels.
                self.queue.happened(&Event::PodUpdated, now);
            }
        } else if object.is_terminating() {
            self.forget_pod(&pod.key, now);
        } else if self.config.profile(pod.scheduler_name()).is_some()
            && !self.cache.has_pod(&pod.key)
        {
            self.queue.put(pod, now);
        }
    }

    /// Decides about the next pod.
    pub(super) fn next(&mut self, now: Instant) -> Option<Decision> {
        let Next { pod, attempts } = self.queue.pop(now)?;
        let mut decision = Decision {
            pod: pod.clone(),
            attempts,
            node: None,
            refusal: None,
            victims: Vec::new(),
            nominated: None,
        };
        let profile = self
            .config
            .profile(pod.scheduler_name())
            .expect("only pods with a profile are queued")
            .clone();
        let held = self.hold_places(&pod);
        match decide(&profile.plugins, self.cache.snapshot(), &pod, &mut self.rng) {
            Ok(at) => {
                let node = self.cache.snapshot().names[at].to_string();
                decision.node = Some(node);
            }
            Err(mut refusal) => {
                if profile.preempts && refusal.rejected.is_none() {
                    self.make_room(&mut decision, &mut refusal, &profile.plugins);
                }
                decision.refusal = Some(refusal);
            }
        }
        for key in held {
            self.cache.forget(&key);
        }
        match &decision.node {
            Some(node) => {
                self.nominated.remove(&pod.key);
                self.cache.assume(pod.on(node));
            }
            None => {
                let refused_by = decision
                    .refusal
                    .as_ref()
                    .map(|refusal| refusal.plugins.clone())
                    .unwrap_or_default();
                self.queue.failed(&pod.key, refused_by, now);
            }
        }
        Some(decision)
    }

    /// Counts pods for which room is being made as if they were there already,
    /// so that nobody less important takes it.
    fn hold_places(&mut self, pod: &Pod) -> Vec<String> {
        let holders: Vec<Arc<Pod>> = self
            .nominated
            .values()
            .filter(|other| other.priority >= pod.priority && other.key != pod.key)
            .filter(|other| !self.cache.has_pod(&other.key))
            .cloned()
            .collect();
        let keys = holders.iter().map(|holder| holder.key.clone()).collect();
        for holder in holders {
            self.cache.assume(holder);
        }
        keys
    }

    fn make_room(
        &mut self,
        decision: &mut Decision,
        refusal: &mut Unschedulable,
        plugins: &[crate::decide::Enabled],
    ) {
        let pod = &decision.pod;
        if self.room_is_being_made(pod) {
            let why = "preemption: not eligible due to a terminating pod on the nominated node.";
            refusal.preemption = Some(why.to_owned());
            return;
        }
        match preempt(plugins, self.cache.snapshot(), pod, refusal) {
            Ok(found) => {
                let node = self.cache.snapshot().names[found.node].to_string();
                self.nominated.insert(pod.key.clone(), pod.on(&node));
                decision.victims = found.victims;
                decision.nominated = Some(node);
            }
            Err(why) => {
                refusal.preemption = Some(why).filter(|why| !why.is_empty());
            }
        }
    }

    fn room_is_being_made(&self, pod: &Pod) -> bool {
        let Some(nominated) = self.nominated.get(&pod.key) else {
            return false;
        };
        let snapshot = self.cache.snapshot();
        snapshot.position(&nominated.node).is_some_and(|at| {
            snapshot.pods[at]
                .iter()
                .any(|other| other.priority < pod.priority && other.object.is_terminating())
        })
    }

    /// Takes in how carrying out a decision went.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Bound(key) => {
                self.cache.bound(&key, now);
                self.queue.remove(&key);
                self.queue.happened(&Event::PodArrived, now);
            }
            Outcome::Failed(key) => {
                self.cache.forget(&key);
                self.queue.failed(&key, BTreeSet::new(), now);
                self.queue.happened(&Event::PodLeft, now);
            }
            Outcome::Gone(key) => self.forget_pod(&key, now),
        }
    }
}

//! Watches over nodes: a silent one becomes `Unknown`, and conditions become taints.
//!
//! All nodes are one key, because how fast nodes are tainted for eviction depends
//! on the health of their whole zone. Silence is counted from when this process
//! last saw a heartbeat change, on a clock that never jumps: neither a node's clock
//! nor this machine's can make a node look dead, nor an outage of the control plane,
//! after which every lease is old.

use crate::controller::Context;
use crate::fields::{Condition, condition, flag, list, set_condition, text, until};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kontiki_client::resources::{LEASES, NODES, PODS};
use kontiki_client::{Delta, EventType};
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value, time};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

const ALL: &str = "nodes";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How often heartbeats are looked at, as upstream's `--node-monitor-period`: they
/// are too many to be told of each.
const MONITOR_PERIOD: Duration = Duration::from_secs(5);
/// A zone in which this share is not ready is disrupted.
const UNHEALTHY_SHARE: f64 = 0.55;
/// Up to this size a disrupted zone sees no eviction at all.
const LARGE_ZONE: usize = 50;

#[derive(Default)]
pub(crate) struct NodeLifecycleController {
    /// The newest heartbeat of each node.
    heard: Mutex<HashMap<String, Heartbeat>>,
}

/// What a node said last, and when this process first saw that.
struct Heartbeat {
    renewed: String,
    reported: String,
    at: Instant,
}

pub(crate) struct State {
    nodes: Vec<Watched>,
    grace: Duration,
    rate: f64,
    secondary_rate: f64,
}

/// A node, and for how long nothing was heard of it.
pub(crate) struct Watched {
    node: SharedObject,
    silent: Duration,
    never_reported: bool,
    pods: Vec<SharedObject>,
}

/// A node came, went, or changed in what taints are made of; heartbeats do not call.
fn of_node(_: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let relevant = |node: &SharedObject| {
        let conditions: Vec<(String, String)> = list(node, &["status", "conditions"])
            .iter()
            .map(|c| (text(c, "type").to_owned(), text(c, "status").to_owned()))
            .collect();
        (
            conditions,
            node.get(&["spec"]).cloned(),
            node.label("topology.kubernetes.io/zone").map(str::to_owned),
        )
    };
    let same = delta.old.as_ref().map(relevant) == delta.new.as_ref().map(relevant);
    (!same).then(|| ALL.to_owned()).into_iter().collect()
}

#[async_trait]
impl Reconciler for NodeLifecycleController {
    type State = State;

    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::map(NODES, of_node),
            Watch::read(LEASES),
            Watch::read(PODS),
        ]
    }

    async fn observe(&self, context: &Context, _: &str) -> Result<Option<State>, Status> {
        let now = Instant::now();
        let nodes = context.caches.of(&NODES).list();
        let mut heard = self.heard.lock();
        heard.retain(|name, _| nodes.iter().any(|node| node.name() == name));
        let watched = nodes.into_iter().map(|node| {
            let lease = context.caches.get(&LEASES, LEASE_NAMESPACE, node.name());
            let renewed = lease
                .as_ref()
                .and_then(|lease| lease.str_at(&["spec", "renewTime"]))
                .unwrap_or_default();
            let ready = condition(&node, "Ready");
            let reported = ready.map_or("", |ready| text(ready, "lastHeartbeatTime"));
            let last = heard.get(node.name());
            let at = match last {
                Some(last) if last.renewed == renewed && last.reported == reported => last.at,
                _ => {
                    let beat = Heartbeat {
                        renewed: renewed.to_owned(),
                        reported: reported.to_owned(),
                        at: now,
                    };
                    heard.insert(node.name().to_owned(), beat);
                    now
                }
            };
            Watched {
                silent: now.duration_since(at),
                never_reported: ready.is_none(),
                pods: context.caches.on_node(&PODS, node.name()),
                node,
            }
        });
        let config = &context.config;
        Ok(Some(State {
            nodes: watched.collect(),
            grace: config.node_monitor_grace_period,
            rate: config.node_eviction_rate,
            secondary_rate: config.secondary_node_eviction_rate,
        }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let mut plan = Plan::nothing();
        let mut budget = Budget::of(state);
        for watched in &state.nodes {
            let silent = watched.silent >= state.grace;
            if silent {
                declare_unknown(watched, at, &mut plan);
            } else {
                let rest = state.grace.saturating_sub(watched.silent);
                plan.requeue(MONITOR_PERIOD.min(rest));
            }
            taint(watched, silent, &mut budget, at, &mut plan);
        }
        plan
    }
}

fn readiness(node: &SharedObject) -> &str {
    condition(node, "Ready").map_or("Unknown", |ready| text(ready, "status"))
}

/// Says that nothing is known of a node, and that its pods cannot be reached.
fn declare_unknown(watched: &Watched, at: &Moment, plan: &mut Plan) {
    let node = &watched.node;
    let mut conditions = list(node, &["status", "conditions"]).to_vec();
    let (reason, message) = if watched.never_reported {
        (
            "NodeStatusNeverUpdated",
            "Kubelet never posted node status.",
        )
    } else {
        ("NodeStatusUnknown", "Kubelet stopped posting node status.")
    };
    let mut changed = false;
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let known = conditions.iter().find(|known| text(known, "type") == kind);
        if known.is_some_and(|known| text(known, "status") == "Unknown") {
            continue;
        }
        let beat = known.map_or_else(
            || {
                node.get(&["metadata", "creationTimestamp"])
                    .cloned()
                    .unwrap_or_default()
            },
            |known| known["lastHeartbeatTime"].clone(),
        );
        let unknown = Condition {
            kind,
            status: "Unknown",
            reason,
            message: message.into(),
        };
        set_condition(
            &mut conditions,
            &unknown,
            &[("lastHeartbeatTime", beat)],
            at.now,
        );
        changed = true;
    }
    if changed {
        plan.actions.push(Action::Patch {
            resource: NODES,
            namespace: String::new(),
            name: node.name().to_owned(),
            status: true,
            patch: json!({"metadata": {"uid": node.uid()}, "status": {"conditions": conditions}}),
        });
        let message = format!("Node {} status is now: NodeNotReady", node.name());
        plan.event(node, EventType::Normal, "NodeNotReady", message);
    }
    for pod in watched.pods.iter().filter(|pod| pods::is_ready(pod)) {
        let mut conditions = list(pod, &["status", "conditions"]).to_vec();
        let unready = Condition {
            kind: "Ready",
            status: "False",
            reason: "NodeNotReady",
            message: "the node does not answer".into(),
        };
        set_condition(&mut conditions, &unready, &[], at.now);
        plan.actions.push(Action::Patch {
            resource: PODS,
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            status: true,
            patch: json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}}),
        });
    }
}

fn taint(watched: &Watched, silent: bool, budget: &mut Budget, at: &Moment, plan: &mut Plan) {
    let node = &watched.node;
    let known = list(node, &["spec", "taints"]);
    let readiness = if silent { "Unknown" } else { readiness(node) };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let lifecycle = match readiness {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    if let Some(key) = lifecycle {
        wanted.push((key, "NoSchedule"));
        let has = |key: &str| {
            let mut taints = known.iter();
            taints.any(|t| text(t, "key") == key && text(t, "effect") == "NoExecute")
        };
        let evicted = has(NOT_READY) || has(UNREACHABLE);
        match budget.admits(node, evicted, at.now) {
            Ok(()) => wanted.push((key, "NoExecute")),
            Err(wait) => wait.into_iter().for_each(|wait| plan.requeue(wait)),
        }
    }
    for (kind, key) in [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        (
            "NetworkUnavailable",
            "node.kubernetes.io/network-unavailable",
        ),
    ] {
        if condition(node, kind).is_some_and(|c| text(c, "status") == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if flag(node, &["spec", "unschedulable"]) {
        wanted.push(("node.kubernetes.io/unschedulable", "NoSchedule"));
    }
    let taints = merged(known, &wanted, at.now);
    if taints != known {
        let patch = json!({
            "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
            "spec": {"taints": if taints.is_empty() { Value::Null } else { json!(taints) }},
        });
        // Before the status patches, which move the version.
        plan.actions.insert(0, Action::patch(&NODES, node, patch));
    }
}

/// The taints of others as they are, and ours as wanted.
fn merged(known: &[Value], wanted: &[(&str, &str)], now: Timestamp) -> Vec<Value> {
    let is_ours = |taint: &Value| {
        let key = text(taint, "key");
        let suffixes = [
            "not-ready",
            "unreachable",
            "memory-pressure",
            "disk-pressure",
            "pid-pressure",
            "network-unavailable",
            "unschedulable",
        ];
        let ours = key
            .strip_prefix("node.kubernetes.io/")
            .is_some_and(|s| suffixes.contains(&s));
        ours && (text(taint, "effect") == "NoSchedule" || key == NOT_READY || key == UNREACHABLE)
    };
    let is_wanted = |taint: &Value| wanted.contains(&(text(taint, "key"), text(taint, "effect")));
    let kept = known
        .iter()
        .filter(|taint| !is_ours(taint) || is_wanted(taint));
    let mut taints: Vec<Value> = kept.cloned().collect();
    for (key, effect) in wanted {
        let there = |t: &Value| text(t, "key") == *key && text(t, "effect") == *effect;
        if !taints.iter().any(there) {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": time::format(now)}));
        }
    }
    taints
}

/// How fast nodes of each zone may be tainted for eviction.
struct Budget {
    /// Zone → seconds between two taints (`None`: no taints), and the last one.
    zones: BTreeMap<String, (Option<f64>, Option<Timestamp>)>,
}

fn zone(node: &SharedObject) -> String {
    let region = node
        .label("topology.kubernetes.io/region")
        .unwrap_or_default();
    let zone = node
        .label("topology.kubernetes.io/zone")
        .unwrap_or_default();
    format!("{region}/{zone}")
}

impl Budget {
    fn of(state: &State) -> Self {
        let mut counts: BTreeMap<String, (usize, usize, Option<Timestamp>)> = BTreeMap::new();
        for watched in &state.nodes {
            let silent = watched.silent >= state.grace;
            let ready = !silent && readiness(&watched.node) == "True";
            let count = counts.entry(zone(&watched.node)).or_default();
            count.0 += 1;
            count.1 += usize::from(!ready);
            let taints = list(&watched.node, &["spec", "taints"]).iter();
            let evictions = taints
                .filter(|t| text(t, "effect") == "NoExecute")
                .filter(|t| [NOT_READY, UNREACHABLE].contains(&text(t, "key")))
                .filter_map(|t| time::parse(text(t, "timeAdded")));
            count.2 = count.2.max(evictions.max());
        }
        // Nothing is ready anywhere: rather this side lost its network.
        let all_dark = counts.values().all(|(all, unready, _)| all == unready);
        let zones = counts.into_iter().map(|(zone, (all, unready, last))| {
            #[expect(clippy::cast_precision_loss, reason = "a share of a number of nodes")]
            let share = unready as f64 / all.max(1) as f64;
            let rate = if all_dark {
                0.0
            } else if unready > 2 && share >= UNHEALTHY_SHARE {
                if all > LARGE_ZONE {
                    state.secondary_rate
                } else {
                    0.0
                }
            } else {
                state.rate
            };
            (zone, ((rate > 0.0).then(|| 1.0 / rate), last))
        });
        Self {
            zones: zones.collect(),
        }
    }

    /// Whether a node may be tainted now; else how long to wait, if that helps.
    fn admits(
        &mut self,
        node: &SharedObject,
        evicted: bool,
        now: Timestamp,
    ) -> Result<(), Option<Duration>> {
        if evicted {
            return Ok(());
        }
        let Some((pause, last)) = self.zones.get_mut(&zone(node)) else {
            return Err(None);
        };
        let Some(pause) = *pause else {
            return Err(None);
        };
        let next = last.map(|last| {
            last + SignedDuration::try_from_secs_f64(pause).unwrap_or(SignedDuration::MAX)
        });
        match next {
            Some(next) if next > now => Err(Some(until(next, now) + Duration::from_millis(1))),
            _ => {
                *last = Some(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;

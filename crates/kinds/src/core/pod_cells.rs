//! How pods look in tables.

use crate::Tree;
use crate::table::{CellContext, Column, human_duration};
use crate::tree::{at, flag, list_at, map, map_at, maps, number, number_at, text, text_at};
use kontiki_object::{Value, time};
use serde_json::json;

/// The columns of a pod table.
pub(crate) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Ready", "string", "The aggregate readiness state of this pod for accepting traffic.", |pod, _| {
            let state = state(pod);
            format!("{}/{}", state.ready, state.total).into()
        }),
        Column::new("Status", "string", "The aggregate status of the containers in this pod.", |pod, _| {
            state(pod).reason.into()
        }),
        Column::new("Restarts", "string", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.", restarts),
        Column::age(),
        Column::new("IP", "string", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.", |pod, _| {
            let ip = list_at(pod, &["status", "podIPs"]).first().and_then(|ip| ip.get("ip"));
            none(ip.and_then(Value::as_str).unwrap_or_default())
        }).wide(),
        Column::new("Node", "string", "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename", |pod, _| {
            none(text_at(pod, &["spec", "nodeName"]))
        }).wide(),
        Column::new("Nominated Node", "string", "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.", |pod, _| {
            none(text_at(pod, &["status", "nominatedNodeName"]))
        }).wide(),
        Column::new("Readiness Gates", "string", "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates", readiness_gates).wide(),
    ]
}

/// A finished pod's row says so, and kubectl can leave it out.
pub(crate) fn row_conditions(pod: &Tree) -> Vec<Value> {
    let (reason, message) = match text_at(pod, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn none(text: &str) -> Value {
    if text.is_empty() { "<none>" } else { text }.into()
}

fn readiness_gates(pod: &Tree, _: &CellContext) -> Value {
    let gates = list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates
        .iter()
        .filter(|gate| {
            let kind = gate.get("conditionType").and_then(Value::as_str);
            kind.is_some_and(|kind| condition(pod, kind).is_some_and(|(s, _)| s == "True"))
        })
        .count();
    format!("{met}/{}", gates.len()).into()
}

fn condition<'a>(pod: &'a Tree, kind: &str) -> Option<(&'a str, &'a str)> {
    list_at(pod, &["status", "conditions"])
        .iter()
        .filter_map(Value::as_object)
        .find(|condition| text(condition, "type") == kind)
        .map(|condition| (text(condition, "status"), text(condition, "reason")))
}

struct State {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<jiff::Timestamp>,
    reason: String,
}

fn is_sidecar(pod: &Tree, name: &str) -> bool {
    list_at(pod, &["spec", "initContainers"])
        .iter()
        .filter_map(Value::as_object)
        .any(|container| {
            text(container, "name") == name && text(container, "restartPolicy") == "Always"
        })
}

fn finished_at(status: &Tree) -> Option<jiff::Timestamp> {
    time::parse(text_at(status, &["lastState", "terminated", "finishedAt"]))
}

fn terminated_reason(ended: &Tree, prefix: &str) -> String {
    match text(ended, "reason") {
        "" => match number(ended, "signal").unwrap_or_default() {
            0 => {
                let code = number(ended, "exitCode").unwrap_or_default();
                format!("{prefix}ExitCode:{code}")
            }
            signal => format!("{prefix}Signal:{signal}"),
        },
        reason => format!("{prefix}{reason}"),
    }
}

fn state(pod: &Tree) -> State {
    let phase = text_at(pod, &["status", "phase"]);
    let reason = text_at(pod, &["status", "reason"]);
    let mut state = State {
        ready: 0,
        total: list_at(pod, &["spec", "containers"]).len(),
        restarts: 0,
        last_restart: None,
        reason: if reason.is_empty() { phase } else { reason }.to_owned(),
    };
    if condition(pod, "PodScheduled").is_some_and(|(_, why)| why == "SchedulingGated") {
        state.reason = "SchedulingGated".to_owned();
    }
    let initializing = init_containers(pod, &mut state);
    let initialized = condition(pod, "Initialized").is_some_and(|(status, _)| status == "True");
    if !initializing || initialized {
        containers(pod, &mut state);
    }
    if map(pod, "metadata").is_some_and(|meta| !text(meta, "deletionTimestamp").is_empty()) {
        if reason == "NodeLost" {
            state.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            state.reason = "Terminating".to_owned();
        }
    }
    state
}

/// Follows the init containers; answers whether they hold the pod back.
fn init_containers(pod: &Tree, state: &mut State) -> bool {
    let count = list_at(pod, &["spec", "initContainers"]).len();
    state.total += list_at(pod, &["spec", "initContainers"])
        .iter()
        .filter_map(Value::as_object)
        .filter(|container| text(container, "restartPolicy") == "Always")
        .count();
    let empty = Tree::new();
    let status = map(pod, "status").unwrap_or(&empty);
    let mut sidecar_restarts = 0;
    let mut restarts = 0;
    for (index, container) in maps(status, "initContainerStatuses").enumerate() {
        let number = number(container, "restartCount").unwrap_or_default();
        restarts += number;
        state.last_restart = state.last_restart.max(finished_at(container));
        let sidecar = is_sidecar(pod, text(container, "name"));
        if sidecar {
            sidecar_restarts += number;
        }
        let ended = map_at(container, &["state", "terminated"]);
        if ended.is_some_and(|ended| number_at(ended, &["exitCode"]) == 0) {
            continue;
        }
        if sidecar && flag(container, "started") == Some(true) {
            if flag(container, "ready") == Some(true) {
                state.ready += 1;
            }
            continue;
        }
        let waiting = text_at(container, &["state", "waiting", "reason"]);
        state.reason = match ended {
            Some(ended) => terminated_reason(ended, "Init:"),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{index}/{count}"),
        };
        state.restarts = restarts;
        return true;
    }
    state.restarts = sidecar_restarts;
    false
}

fn containers(pod: &Tree, state: &mut State) {
    let empty = Tree::new();
    let status = map(pod, "status").unwrap_or(&empty);
    let statuses: Vec<&Tree> = maps(status, "containerStatuses").collect();
    let mut running = false;
    for container in statuses.iter().rev() {
        state.restarts += number(container, "restartCount").unwrap_or_default();
        state.last_restart = state.last_restart.max(finished_at(container));
        let waiting = text_at(container, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            state.reason = waiting.to_owned();
        } else if let Some(ended) = map_at(container, &["state", "terminated"]) {
            state.reason = terminated_reason(ended, "");
        } else if flag(container, "ready") == Some(true)
            && at(container, &["state", "running"]).is_some()
        {
            running = true;
            state.ready += 1;
        }
    }
    if state.reason == "Completed" && running {
        let ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "True");
        state.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn restarts(pod: &Tree, context: &CellContext) -> Value {
    let state = state(pod);
    match state.last_restart.filter(|_| state.restarts != 0) {
        None => state.restarts.to_string().into(),
        Some(at) => {
            let ago = human_duration(context.now.as_second() - at.as_second());
            format!("{} ({ago} ago)", state.restarts).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: Value) -> Vec<String> {
        let pod = pod.as_object().expect("a map");
        let context = CellContext {
            now: "2026-01-01T00:10:00Z".parse().expect("a time"),
        };
        columns()
            .iter()
            .map(|column| match (column.cell)(pod, &context) {
                Value::String(text) => text,
                other => other.to_string(),
            })
            .collect()
    }

    #[test]
    fn a_row_tells_how_a_pod_is() {
        let meta = json!({"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let spec = json!({"containers": [{"name": "c"}], "nodeName": "n"});
        for (status, ready, reason, restarts) in [
            (json!({"phase": "Pending"}), "0/1", "Pending", "0"),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2,
                    "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:05:00Z"}}}]}),
                "1/1",
                "Running",
                "2 (5m ago)",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 5,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "0/1",
                "CrashLoopBackOff",
                "5",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [{"name": "c", "restartCount": 0,
                    "state": {"terminated": {"exitCode": 3}}}]}),
                "0/1",
                "ExitCode:3",
                "0",
            ),
        ] {
            let cells = row(json!({"metadata": meta, "spec": spec, "status": status}));
            assert_eq!(
                cells,
                [
                    "a", ready, reason, restarts, "10m", "<none>", "n", "<none>", "<none>"
                ]
            );
        }
    }

    #[test]
    fn init_containers_hold_a_pod_back() {
        let cells = row(json!({
            "metadata": {"name": "a", "deletionTimestamp": null},
            "spec": {"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "state": {"running": {}}}]},
        }));
        assert_eq!(&cells[1..3], ["0/1", "Init:1/2"]);
    }
}

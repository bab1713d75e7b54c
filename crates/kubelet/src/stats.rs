//! What pods use, as upstream's summary and metrics tell it.

use crate::context::Context;
use crate::cri::CriResult;
use crate::labels;
use crate::machine::meminfo;
use jiff::Timestamp;
use k8s_cri::v1::{ContainerState, ContainerStats, ListContainerStatsRequest, UInt64Value};
use kontiki_object::{Value, time};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

fn moment(nanoseconds: i64) -> String {
    time::format(Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default())
}

fn number(value: Option<&UInt64Value>) -> u64 {
    value.map(|value| value.value).unwrap_or_default()
}

/// `/stats/summary`.
///
/// # Errors
/// What the runtime answers.
pub async fn summary(context: &Context) -> CriResult<Value> {
    let stats = context
        .cri
        .list_container_stats(ListContainerStatsRequest { filter: None })
        .await?
        .stats;
    let mut pods: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for stats in &stats {
        let Some(attributes) = &stats.attributes else {
            continue;
        };
        let label = |name: &str| attributes.labels.get(name).cloned().unwrap_or_default();
        let uid = label(labels::POD_UID);
        if uid.is_empty() {
            continue;
        }
        let reference = json!({"name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": uid});
        let pod = pods.entry(uid).or_insert_with(|| (reference, Vec::new()));
        pod.1.push(container(&label(labels::CONTAINER_NAME), stats));
    }
    let now = time::format(context.clock.now());
    let pods: Vec<Value> =
        pods.into_values().map(|(reference, containers)| json!({"podRef": reference, "startTime": now, "containers": containers})).collect();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo(&memory, "MemTotal").unwrap_or_default();
    let available = meminfo(&memory, "MemAvailable").unwrap_or_default();
    Ok(json!({
        "node": {
            "nodeName": context.config.node_name,
            "startTime": now,
            "memory": {"time": now, "availableBytes": available, "workingSetBytes": total.saturating_sub(available)},
        },
        "pods": pods,
    }))
}

fn container(name: &str, stats: &ContainerStats) -> Value {
    let mut value = json!({"name": name});
    if let Some(cpu) = &stats.cpu {
        value["cpu"] = json!({
            "time": moment(cpu.timestamp),
            "usageCoreNanoSeconds": number(cpu.usage_core_nano_seconds.as_ref()),
            "usageNanoCores": number(cpu.usage_nano_cores.as_ref()),
        });
    }
    if let Some(memory) = &stats.memory {
        value["memory"] = json!({
            "time": moment(memory.timestamp),
            "workingSetBytes": number(memory.working_set_bytes.as_ref()),
            "usageBytes": number(memory.usage_bytes.as_ref()),
            "rssBytes": number(memory.rss_bytes.as_ref()),
        });
    }
    if let Some(layer) = &stats.writable_layer {
        value["rootfs"] = json!({"time": moment(layer.timestamp), "usedBytes": number(layer.used_bytes.as_ref())});
    }
    value
}

/// `/metrics`, under upstream's names.
///
/// # Errors
/// What the runtime answers.
pub async fn metrics(context: &Context) -> CriResult<String> {
    let (sandboxes, containers) = context.cri.list(std::collections::HashMap::new()).await?;
    let ready = sandboxes
        .iter()
        .filter(|sandbox| sandbox.state == 0)
        .count();
    let states = [
        ("created", ContainerState::ContainerCreated),
        ("running", ContainerState::ContainerRunning),
        ("exited", ContainerState::ContainerExited),
    ];
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox"
    );
    let _ = writeln!(
        text,
        "# TYPE kubelet_running_pods gauge\nkubelet_running_pods {ready}"
    );
    let _ = writeln!(
        text,
        "# HELP kubelet_running_containers Number of containers currently running"
    );
    let _ = writeln!(text, "# TYPE kubelet_running_containers gauge");
    for (name, state) in states {
        let count = containers
            .iter()
            .filter(|run| run.state == state as i32)
            .count();
        let _ = writeln!(
            text,
            "kubelet_running_containers{{container_state=\"{name}\"}} {count}"
        );
    }
    let name = &context.config.node_name;
    let _ = writeln!(
        text,
        "# HELP kubelet_node_name The node's name. The count is always 1."
    );
    let _ = writeln!(
        text,
        "# TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{name}\"}} 1"
    );
    // Writing to a text never fails.
    let _ = prometheus_client::encoding::text::encode(&mut text, &context.config.metrics);
    Ok(text)
}

//! The node's own object: registered once, kept current after.

use crate::context::Context;
use crate::heartbeat::Heartbeat;
use crate::machine::meminfo;
use k8s_cri::v1::{ListImagesRequest, StatusRequest, VersionRequest};
use kontiki_client::{EventType, PatchKind, resources};
use kontiki_object::{Quantity, Status, Value, time};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often an unchanged status is written all the same.
const REPORT: Duration = Duration::from_secs(300);
/// Images named in the status; upstream's limit.
const IMAGES_MAX: usize = 50;
/// Below this share of memory there is pressure, in percent.
const MEMORY_FREE_MIN: u64 = 1;
/// Below this share of the disk there is pressure, in percent.
const DISK_FREE_MIN: u64 = 5;

/// What a look at the node has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Why the node is not ready; empty if it is.
    not_ready: Vec<String>,
    memory_pressure: bool,
    disk_pressure: bool,
    runtime: String,
    images: Vec<(Vec<String>, u64)>,
}

/// Registers the node, computes its status and says that it lives.
pub struct NodeReporter {
    context: Arc<Context>,
    heartbeat: Arc<dyn Heartbeat>,
    written: Option<(Value, tokio::time::Instant)>,
}

impl NodeReporter {
    /// One for the node of this kubelet.
    #[must_use]
    pub fn new(context: Arc<Context>, heartbeat: Arc<dyn Heartbeat>) -> Self {
        Self {
            context,
            heartbeat,
            written: None,
        }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut pause = Duration::from_millis(200);
        while let Err(error) = self.register().await {
            tracing::warn!(%error, node = self.context.config.node_name, "the node could not be registered yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(7));
        }
        let name = &self.context.config.node_name;
        self.context
            .events
            .node(name, EventType::Normal, "Starting", "Starting kubelet.");
        let (heartbeat, context) = (self.heartbeat.clone(), self.context.clone());
        tokio::join!(beat(heartbeat, context), self.report());
    }

    async fn report(&mut self) {
        let period = self.context.config.node_status_period;
        loop {
            // A node that is not ready is looked at more often, so that it soon is.
            let pause = match self.write_status().await {
                Ok(true) => period,
                Ok(false) => period.min(Duration::from_secs(1)),
                Err(error) => {
                    tracing::debug!(%error, "the node's status could not be written");
                    period.min(Duration::from_secs(2))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn register(&self) -> Result<(), Status> {
        let config = &self.context.config;
        let nodes = self.context.client.resource(&resources::NODES);
        let findings = self.look().await;
        let (labels, now) = (self.labels(), self.context.clock.now());
        let taints: Vec<Value> = config
            .node_taints
            .iter()
            .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect}))
            .collect();
        let annotations = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": config.node_name, "labels": labels, "annotations": annotations},
            "spec": {"taints": taints},
            "status": status(&self.context, &findings, None, now),
        });
        match nodes.create(node).await {
            Err(status) if status.is_already_exists() => {}
            answer => return answer.map(drop),
        }
        // Taints of a node that exists are the operator's; its labels are kept true.
        nodes
            .patch(
                &config.node_name,
                PatchKind::Merge,
                json!({"metadata": {"labels": labels}}),
            )
            .await
            .map(drop)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let arch = go_arch();
        let own = [
            (
                "kubernetes.io/hostname",
                self.context.config.node_name.as_str(),
            ),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ];
        let mut labels: BTreeMap<String, String> = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        labels.extend(self.context.config.node_labels.clone());
        labels
    }

    /// Writes the status if it changed or is old; whether the node is ready.
    async fn write_status(&mut self) -> Result<bool, Status> {
        let findings = self.look().await;
        let name = &self.context.config.node_name;
        let nodes = self.context.client.resource(&resources::NODES);
        let cached = self.context.view.nodes.get(name);
        let stored = match cached {
            Some(node) => Some(node),
            None => nodes.get_opt(name).await?,
        };
        let Some(stored) = stored else {
            self.register().await?;
            return Ok(findings.not_ready.is_empty());
        };
        let former = stored.get(&["status"]);
        let now = self.context.clock.now();
        let status = status(&self.context, &findings, former, now);
        let steady = without_times(&status);
        let is_fresh = self
            .written
            .as_ref()
            .is_some_and(|(written, at)| *written == steady && at.elapsed() < REPORT);
        if !is_fresh {
            nodes
                .patch_status(name, PatchKind::StrategicMerge, json!({"status": status}))
                .await?;
            self.written = Some((steady, tokio::time::Instant::now()));
        }
        Ok(findings.not_ready.is_empty())
    }

    async fn look(&self) -> Findings {
        let cri = &self.context.cri;
        let mut findings = Findings::default();
        match cri.status(StatusRequest { verbose: false }).await {
            Ok(answer) => {
                let conditions = answer
                    .status
                    .map(|status| status.conditions)
                    .unwrap_or_default();
                let failing = conditions.into_iter().filter(|condition| !condition.status);
                findings.not_ready = failing
                    .map(|condition| match condition.r#type.as_str() {
                        "NetworkReady" => format!(
                            "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                            condition.reason, condition.message
                        ),
                        name => format!(
                            "container runtime not ready: {name}=false reason:{} message:{}",
                            condition.reason, condition.message
                        ),
                    })
                    .collect();
            }
            Err(error) => findings
                .not_ready
                .push(format!("container runtime is down: {error}")),
        }
        if let Ok(version) = cri
            .version(VersionRequest {
                version: String::new(),
            })
            .await
        {
            findings.runtime = format!("{}://{}", version.runtime_name, version.runtime_version);
        }
        if let Ok(images) = cri.list_images(ListImagesRequest { filter: None }).await {
            let name = |image: k8s_cri::v1::Image| {
                let names: Vec<String> = image
                    .repo_digests
                    .into_iter()
                    .chain(image.repo_tags)
                    .collect();
                (names, image.size)
            };
            findings.images = images
                .images
                .into_iter()
                .map(name)
                .filter(|(names, _)| !names.is_empty())
                .collect();
            findings
                .images
                .sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
            findings.images.truncate(IMAGES_MAX);
        }
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        if let (Some(all), Some(free)) = (
            meminfo(&memory, "MemTotal"),
            meminfo(&memory, "MemAvailable"),
        ) {
            findings.memory_pressure = free * 100 < all * MEMORY_FREE_MIN;
        }
        if let Ok(disk) = nix::sys::statvfs::statvfs(&self.context.config.root_dir) {
            findings.disk_pressure = disk.blocks_available() * 100 < disk.blocks() * DISK_FREE_MIN;
        }
        findings
    }
}

async fn beat(heartbeat: Arc<dyn Heartbeat>, context: Arc<Context>) {
    let mut ticks = tokio::time::interval(context.config.heartbeat_period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = heartbeat.beat(&context.config.node_name).await {
            tracing::debug!(%error, "the node could not say that it lives");
        }
    }
}

/// The machine's architecture in Go's words.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(
    context: &Context,
    findings: &Findings,
    former: Option<&Value>,
    now: jiff::Timestamp,
) -> Value {
    let (config, machine) = (&context.config, &context.machine);
    let list = |list: BTreeMap<String, Quantity>| {
        Value::Object(
            list.into_iter()
                .map(|(name, value)| (name, json!(value.to_string())))
                .collect::<Map<_, _>>(),
        )
    };
    let images: Vec<Value> = findings
        .images
        .iter()
        .map(|(names, size)| json!({"names": names, "sizeBytes": size}))
        .collect();
    json!({
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip.to_string()},
            {"type": "Hostname", "address": config.node_name},
        ],
        "capacity": list(machine.capacity(config)),
        "allocatable": list(machine.allocatable(config)),
        "conditions": conditions(findings, former, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        "images": images,
        "nodeInfo": {
            "architecture": go_arch(),
            "bootID": machine.boot_id,
            "containerRuntimeVersion": findings.runtime,
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": config.version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        },
    })
}

fn conditions(findings: &Findings, former: Option<&Value>, now: jiff::Timestamp) -> Vec<Value> {
    let pressure = |kind: &str, holds: bool, yes: [&str; 2], no: [&str; 2]| {
        let [reason, message] = if holds { yes } else { no };
        (
            kind.to_owned(),
            holds,
            reason.to_owned(),
            message.to_owned(),
        )
    };
    let ready = findings.not_ready.is_empty();
    let why = if ready {
        "kubelet is posting ready status".to_owned()
    } else {
        format!("[{}]", findings.not_ready.join(", "))
    };
    let reason = if ready {
        "KubeletReady"
    } else {
        "KubeletNotReady"
    };
    let all = [
        pressure(
            "MemoryPressure",
            findings.memory_pressure,
            [
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ],
            [
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ],
        ),
        pressure(
            "DiskPressure",
            findings.disk_pressure,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ),
        pressure(
            "PIDPressure",
            false,
            [
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ],
            [
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ],
        ),
        ("Ready".to_owned(), ready, reason.to_owned(), why),
    ];
    let known = former.and_then(|status| status["conditions"].as_array());
    all.map(|(kind, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let known = known
            .into_iter()
            .flatten()
            .find(|known| known["type"] == kind.as_str() && known["status"] == status);
        let since = known
            .and_then(|known| known["lastTransitionTime"].as_str())
            .map(str::to_owned);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time::format(now),
            "lastTransitionTime": since.unwrap_or_else(|| time::format(now)),
        })
    })
    .into()
}

/// A status as far as it says something: its times change with every look.
fn without_times(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastHeartbeatTime"] = Value::Null;
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let well = Findings::default();
        let ill = Findings {
            not_ready: vec!["container runtime is down: x".into()],
            ..Findings::default()
        };
        let first = json!({"conditions": conditions(&well, None, at(0))});
        let second = conditions(&ill, Some(&first), at(60));
        let shown: Vec<String> = second
            .iter()
            .map(|c| {
                format!(
                    "{}={} since {}",
                    c["type"].as_str().expect("text"),
                    c["status"].as_str().expect("text"),
                    c["lastTransitionTime"].as_str().expect("text")
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "MemoryPressure=False since 1970-01-01T00:00:00Z",
                "DiskPressure=False since 1970-01-01T00:00:00Z",
                "PIDPressure=False since 1970-01-01T00:00:00Z",
                "Ready=False since 1970-01-01T00:01:00Z",
            ]
        );
        assert_eq!(second[3]["message"], "[container runtime is down: x]");
        assert_eq!(
            without_times(&first),
            without_times(&json!({"conditions": conditions(&well, None, at(9))}))
        );
    }
}

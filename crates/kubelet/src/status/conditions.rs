//! The conditions of a pod.

use super::StatusInput;
use crate::spec::{self, PodExt, is_sidecar};
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

struct Finding {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn holds() -> Self {
        Self {
            holds: true,
            reason: "",
            message: String::new(),
        }
    }

    fn fails(reason: &'static str, message: String) -> Self {
        Self {
            holds: false,
            reason,
            message,
        }
    }
}

/// The kubelet's conditions; those of others are not among them.
pub fn conditions(
    input: &StatusInput,
    former: &PodStatus,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers = containers_ready(input, phase, init, main);
    let ready = ready(input, former, &containers);
    let network = match input.observed.sandbox() {
        Some(sandbox) if sandbox.ready && (input.pod.host_network() || !sandbox.ips.is_empty()) => {
            Finding::holds()
        }
        _ => Finding::fails("", String::new()),
    };
    [
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized(input, phase, init, main)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Finding::holds()),
    ]
    .map(|(name, finding)| condition(input, former, name, finding))
    .into()
}

fn condition(
    input: &StatusInput,
    former: &PodStatus,
    name: &str,
    finding: Finding,
) -> PodCondition {
    let text = |text: String| (!text.is_empty()).then_some(text);
    let status = if finding.holds { "True" } else { "False" };
    let known = former
        .conditions
        .iter()
        .flatten()
        .find(|known| known.type_ == name);
    let since = known
        .filter(|known| known.status == status)
        .and_then(|known| known.last_transition_time.clone());
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason: text(finding.reason.to_owned()),
        message: text(finding.message),
        last_transition_time: since.or_else(|| Some(Time(super::whole_seconds(input.now)))),
        observed_generation: input.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(
    input: &StatusInput,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Finding {
    let containers = input.pod.init_containers();
    if phase == "Succeeded" && !containers.is_empty() {
        return Finding {
            reason: "PodCompleted",
            ..Finding::holds()
        };
    }
    // Once a container has begun, initialization is over, whatever a sidecar does.
    let has_begun = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || status.last_state.is_some()
    };
    if main.iter().any(has_begun) {
        return Finding::holds();
    }
    let pairs = containers.iter().zip(init);
    let incomplete = pairs.filter(|(container, status)| {
        if is_sidecar(container) {
            status.started != Some(true)
        } else {
            !status.ready
        }
    });
    let incomplete: Vec<&str> = incomplete
        .map(|(container, _)| container.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Finding::holds();
    }
    Finding::fails(
        "ContainersNotInitialized",
        format!("containers with incomplete status: {}", list(&incomplete)),
    )
}

fn containers_ready(
    input: &StatusInput,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Finding {
    match phase {
        "Succeeded" => return Finding::fails("PodCompleted", String::new()),
        "Failed" => return Finding::fails("PodFailed", String::new()),
        _ => {}
    }
    let sidecars = input
        .pod
        .init_containers()
        .iter()
        .zip(init)
        .filter(|(container, _)| is_sidecar(container));
    let all = sidecars.map(|(_, status)| status).chain(main);
    let unready: Vec<&str> = all
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::holds();
    }
    Finding::fails(
        "ContainersNotReady",
        format!("containers with unready status: {}", list(&unready)),
    )
}

fn ready(input: &StatusInput, former: &PodStatus, containers: &Finding) -> Finding {
    if !containers.holds {
        return Finding::fails(containers.reason, containers.message.clone());
    }
    let gates = spec::of(input.pod).readiness_gates.iter().flatten();
    let closed = gates.filter_map(|gate| {
        let name = &gate.condition_type;
        match former
            .conditions
            .iter()
            .flatten()
            .find(|known| &known.type_ == name)
        {
            None => Some(format!(
                "corresponding condition of pod readiness gate {name:?} does not exist."
            )),
            Some(known) if known.status != "True" => Some(format!(
                "the status of pod readiness gate {name:?} is not \"True\", but {}",
                known.status
            )),
            Some(_) => None,
        }
    });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() {
        return Finding::holds();
    }
    Finding::fails("ReadinessGatesNotReady", closed.join(", "))
}

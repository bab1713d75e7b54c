//! A pod's status, computed as upstream computes it.
//!
//! **Invariant:** pure; the former status is only read for what must not change
//! (start time, transition times, a phase that is final, addresses of a pod
//! that is over).

mod conditions;
mod container;

pub use container::{Initial, container_status};

use crate::cri::PodObservation;
use crate::plan::{ProbeView, Waiting};
use crate::spec::{self, PodExt, RestartPolicy, is_sidecar};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// Why a pod is over although its containers did not decide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a word, for instance `DeadlineExceeded`.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// What a status is made from.
pub struct StatusInput<'a> {
    /// The pod, with its former status.
    pub pod: &'a Pod,
    /// What runs of it.
    pub observed: &'a PodObservation,
    /// What probes have found out.
    pub probes: &'a ProbeView,
    /// Containers that do not run, and why.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// Whether nothing of the pod will be started any more.
    pub is_stopping: bool,
    /// Why the pod is over, if something else than its containers decided it.
    pub verdict: Option<&'a Verdict>,
    /// Now.
    pub now: Timestamp,
}

/// Computes the status.
#[must_use]
pub fn pod_status(input: &StatusInput) -> PodStatus {
    let pod = input.pod;
    let former = pod.status.clone().unwrap_or_default();
    let statuses = |containers: &[k8s_openapi::api::core::v1::Container], is_init| {
        let statuses = containers
            .iter()
            .map(|container| container_status(input, container, is_init));
        statuses.collect::<Vec<ContainerStatus>>()
    };
    let init = statuses(pod.init_containers(), true);
    let main = statuses(pod.containers(), false);
    let computed = phase(input, &init, &main);
    // A final phase stays.
    let phase = if is_final(former.phase.as_deref()) {
        former.phase.clone().unwrap_or_default()
    } else {
        computed
    };
    let mut status = PodStatus {
        conditions: Some(conditions::conditions(input, &former, &phase, &init, &main)),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        observed_generation: pod.metadata.generation,
        host_ip: input.host_ips.first().cloned(),
        host_ips: Some(
            input
                .host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.clone() })
                .collect(),
        ),
        start_time: former
            .start_time
            .clone()
            .or(Some(Time(whole_seconds(input.now)))),
        qos_class: former
            .qos_class
            .clone()
            .or_else(|| Some(crate::resources::qos_class(pod).as_str().to_owned())),
        reason: former.reason.clone(),
        message: former.message.clone(),
        phase: Some(phase),
        ..PodStatus::default()
    };
    if let Some(verdict) = input.verdict {
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
    }
    let ips = pod_ips(input, &former);
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
    status
}

/// Whether a phase is the last.
#[must_use]
pub fn is_final(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The pod's addresses: its sandbox's, the node's in the host's network, and
/// after the end of both those it had.
fn pod_ips(input: &StatusInput, former: &PodStatus) -> Vec<String> {
    let sandbox = input.observed.sandbox().filter(|sandbox| sandbox.ready);
    match sandbox {
        Some(_) if input.pod.host_network() => input.host_ips.to_vec(),
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => former
            .pod_ips
            .iter()
            .flatten()
            .map(|ip| ip.ip.clone())
            .collect(),
    }
}

fn terminated(state: Option<&ContainerState>) -> Option<i32> {
    Some(state?.terminated.as_ref()?.exit_code)
}

#[derive(Default)]
struct Tally {
    initializing: usize,
    init_failed: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

fn tally(input: &StatusInput, init: &[ContainerStatus], main: &[ContainerStatus]) -> Tally {
    let mut tally = Tally::default();
    for (container, status) in input.pod.init_containers().iter().zip(init) {
        let state = status.state.as_ref();
        if is_sidecar(container) {
            tally.initializing +=
                usize::from(status.started != Some(true) && terminated(state).is_none());
            continue;
        }
        let last = || terminated(status.last_state.as_ref());
        match terminated(state) {
            Some(0) => {}
            Some(_) => tally.init_failed += 1,
            None if state.is_some_and(|state| state.waiting.is_some())
                && last().is_some_and(|code| code != 0) =>
            {
                tally.init_failed += 1;
            }
            None => tally.initializing += 1,
        }
    }
    for status in main {
        let state = status.state.as_ref();
        if let Some(code) = terminated(state) {
            tally.stopped += 1;
            tally.succeeded += usize::from(code == 0);
        } else if state.is_some_and(|state| state.running.is_some()) {
            tally.running += 1;
        } else if terminated(status.last_state.as_ref()).is_some() {
            tally.stopped += 1;
        } else {
            tally.waiting += 1;
        }
    }
    tally
}

fn phase(input: &StatusInput, init: &[ContainerStatus], main: &[ContainerStatus]) -> String {
    let tally = tally(input, init, main);
    let policy = input.pod.restart_policy();
    let over = input.is_stopping && input.observed.alive().next().is_none();
    if over && input.verdict.is_some() {
        return "Failed".to_owned();
    }
    let begun = tally.running + tally.stopped > 0;
    let is_initializing = tally.initializing + tally.init_failed > 0 && !begun;
    let phase = if tally.init_failed > 0 && (policy == RestartPolicy::Never || over) {
        "Failed"
    } else if over && !main.is_empty() && begun {
        if tally.succeeded == main.len() {
            "Succeeded"
        } else {
            "Failed"
        }
    } else if over {
        "Failed"
    } else if is_initializing || tally.waiting > 0 {
        "Pending"
    } else if tally.running > 0 {
        "Running"
    } else if tally.stopped > 0 {
        ended_phase(input, main, &tally)
    } else {
        "Pending"
    };
    phase.to_owned()
}

/// The phase of a pod of which no container runs now.
fn ended_phase(input: &StatusInput, main: &[ContainerStatus], tally: &Tally) -> &'static str {
    let again = input
        .pod
        .containers()
        .iter()
        .zip(main)
        .any(|(container, status)| {
            // A container that waits for its next start has not ended for good.
            terminated(status.state.as_ref())
                .is_none_or(|code| spec::restarts_after(input.pod, container, code))
        });
    if again {
        "Running"
    } else if tally.succeeded == tally.stopped {
        "Succeeded"
    } else {
        "Failed"
    }
}

#[cfg(test)]
mod tests;

//! The status of one container.

use super::StatusInput;
use crate::cri::{ContainerPhase, ContainerRecord};
use crate::plan::Waiting;
use crate::spec::{self, PodExt, is_sidecar};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What containers wait for before anything is known of them.
pub struct Initial;

impl Initial {
    /// `PodInitializing` in pods with init containers, else `ContainerCreating`.
    #[must_use]
    pub fn reason(pod: &k8s_openapi::api::core::v1::Pod) -> &'static str {
        if pod.init_containers().is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        }
    }
}

/// The scheme under which the runtime's names of containers are known.
const SCHEME: &str = "containerd://";

/// Computes the status of one container.
#[must_use]
pub fn container_status(
    input: &StatusInput,
    container: &Container,
    is_init: bool,
) -> ContainerStatus {
    let mut runs = input.observed.runs(&container.name);
    let latest = runs.next();
    let former = former(input, &container.name, is_init);
    let Some(latest) = latest else {
        return absent(input, container, former);
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: latest.image.clone(),
        image_id: latest.image_id.clone(),
        container_id: Some(format!("{SCHEME}{}", latest.id)),
        restart_count: i32::try_from(latest.restart_count).unwrap_or(i32::MAX),
        state: Some(state(latest)),
        last_state: runs
            .find(|run| run.phase == ContainerPhase::Exited)
            .map(state),
        ..ContainerStatus::default()
    };
    if status.last_state.is_none() && latest.restart_count > 0 {
        // The former run was removed from the runtime; what was known of it stays.
        status.last_state = former
            .filter(|former| former.restart_count == status.restart_count)
            .and_then(|f| f.last_state.clone());
    }
    if let Some(waiting) = waits(input, container, latest) {
        if status
            .state
            .as_ref()
            .is_some_and(|state| state.terminated.is_some())
        {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting_state(&waiting.reason, &waiting.message));
    }
    let is_running = status
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    let started = is_running && input.probes.started.contains(&latest.id);
    status.started = Some(started);
    status.ready = if is_init && !is_sidecar(container) {
        status
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .is_some_and(|end| end.exit_code == 0)
    } else {
        started && input.probes.ready.contains(&latest.id)
    };
    status
}

fn former<'a>(input: &'a StatusInput, name: &str, is_init: bool) -> Option<&'a ContainerStatus> {
    let status = input.pod.status.as_ref()?;
    let list = if is_init {
        &status.init_container_statuses
    } else {
        &status.container_statuses
    };
    list.iter().flatten().find(|former| former.name == name)
}

/// The status of a container of which the runtime knows nothing.
fn absent(
    input: &StatusInput,
    container: &Container,
    former: Option<&ContainerStatus>,
) -> ContainerStatus {
    let former_state = former.and_then(|former| former.state.as_ref());
    if let Some(former) =
        former.filter(|_| former_state.is_some_and(|state| state.terminated.is_some()))
    {
        // Its end was reported before it was removed.
        return ContainerStatus {
            ready: former.ready && input.is_stopping,
            ..former.clone()
        };
    }
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: former
            .map(|former| former.restart_count)
            .unwrap_or_default(),
        last_state: former.and_then(|former| former.last_state.clone()),
        started: Some(false),
        ..ContainerStatus::default()
    };
    if former_state.is_some_and(|state| state.running.is_some()) {
        let lost = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(
                "The container could not be located when the pod was terminated".to_owned(),
            ),
            ..ContainerStateTerminated::default()
        };
        let lost = ContainerState {
            terminated: Some(lost),
            ..ContainerState::default()
        };
        if input.is_stopping {
            status.state = Some(lost);
            return status;
        }
        status.last_state = Some(lost);
        status.restart_count += 1;
    }
    status.state = Some(match input.waiting.get(&container.name) {
        Some(waiting) => waiting_state(&waiting.reason, &waiting.message),
        None => waiting_state(Initial::reason(input.pod), ""),
    });
    status
}

/// Why a container that does not run is to be shown as waiting.
fn waits<'a>(
    input: &'a StatusInput,
    container: &Container,
    latest: &ContainerRecord,
) -> Option<&'a Waiting> {
    if latest.phase == ContainerPhase::Running || input.is_stopping {
        return None;
    }
    let again = latest.phase != ContainerPhase::Exited
        || is_sidecar(container)
        || spec::restarts_after(input.pod, container, latest.exit_code);
    input.waiting.get(&container.name).filter(|_| again)
}

fn waiting_state(reason: &str, message: &str) -> ContainerState {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let waiting = ContainerStateWaiting {
        reason: text(reason),
        message: text(message),
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn state(run: &ContainerRecord) -> ContainerState {
    let mut state = ContainerState::default();
    match run.phase {
        ContainerPhase::Running => {
            state.running = Some(ContainerStateRunning {
                started_at: time(run.started_at),
            });
        }
        ContainerPhase::Created => state.waiting = Some(ContainerStateWaiting::default()),
        ContainerPhase::Exited => state.terminated = Some(end(run)),
        ContainerPhase::Unknown => {
            state.terminated = Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some(
                    "The container could not be located when the pod was terminated".to_owned(),
                ),
                ..ContainerStateTerminated::default()
            });
        }
    }
    state
}

fn end(run: &ContainerRecord) -> ContainerStateTerminated {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ContainerStateTerminated {
        exit_code: run.exit_code,
        reason: text(&run.reason),
        message: text(&run.message),
        started_at: time(run.started_at),
        finished_at: time(run.finished_at),
        container_id: Some(format!("{SCHEME}{}", run.id)),
        signal: None,
    }
}

fn time(time: Timestamp) -> Option<Time> {
    (time != Timestamp::UNIX_EPOCH)
        .then(|| Timestamp::from_second(time.as_second()).unwrap_or(time))
        .map(Time)
}

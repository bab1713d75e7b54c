//! What runs of a pod, as the runtime tells it.

use super::{Cri, CriResult};
use crate::labels;
use jiff::Timestamp;
use k8s_cri::v1::{self as api, ContainerState, PodSandboxState};
use std::collections::HashMap;

/// A sandbox of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxRecord {
    /// The runtime's name for it.
    pub id: String,
    /// Which of the pod's sandboxes it is.
    pub attempt: u32,
    /// Whether it runs.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its addresses; none in the host's network.
    pub ips: Vec<String>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerPhase {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Over.
    Exited,
    /// The runtime has lost track of it.
    #[default]
    Unknown,
}

/// A container of a pod: one run of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRecord {
    /// The runtime's name for it.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// How often the container had been started before this run.
    pub restart_count: u32,
    /// Where it is in its life.
    pub phase: ContainerPhase,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started; the epoch if it was not.
    pub started_at: Timestamp,
    /// When it ended; the epoch if it did not.
    pub finished_at: Timestamp,
    /// How it ended.
    pub exit_code: i32,
    /// Why it ended, in a word.
    pub reason: String,
    /// Why it ended, in its own words.
    pub message: String,
    /// The image it was made from, as named.
    pub image: String,
    /// The image it was made from, as resolved.
    pub image_id: String,
    /// What of its spec it was made from.
    pub spec_hash: String,
    /// Its log file.
    pub log_path: String,
}

/// Everything of a pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodObservation {
    /// Its sandboxes.
    pub sandboxes: Vec<SandboxRecord>,
    /// Its containers.
    pub containers: Vec<ContainerRecord>,
}

impl PodObservation {
    /// The newest sandbox.
    #[must_use]
    pub fn sandbox(&self) -> Option<&SandboxRecord> {
        self.sandboxes.first()
    }

    /// The newest run of a container.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&ContainerRecord> {
        self.runs(name).next()
    }

    /// The newest run of a container in one sandbox.
    #[must_use]
    pub fn latest_in(&self, name: &str, sandbox_id: &str) -> Option<&ContainerRecord> {
        self.runs(name).find(|run| run.sandbox_id == sandbox_id)
    }

    /// The runs of a container, newest first.
    pub fn runs<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a ContainerRecord> + use<'a, 'n> {
        self.containers.iter().filter(move |run| run.name == name)
    }

    /// The containers that are running, or may be.
    pub fn alive(&self) -> impl Iterator<Item = &ContainerRecord> {
        self.containers
            .iter()
            .filter(|run| matches!(run.phase, ContainerPhase::Running | ContainerPhase::Unknown))
    }

    /// Whether anything runs.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.alive().next().is_none() && self.sandboxes.iter().all(|sandbox| !sandbox.ready)
    }
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default()
}

/// A container's state in the words of this crate.
#[must_use]
pub fn phase(state: i32) -> ContainerPhase {
    match ContainerState::try_from(state) {
        Ok(ContainerState::ContainerCreated) => ContainerPhase::Created,
        Ok(ContainerState::ContainerRunning) => ContainerPhase::Running,
        Ok(ContainerState::ContainerExited) => ContainerPhase::Exited,
        _ => ContainerPhase::Unknown,
    }
}

/// Asks the runtime for everything of one pod. What is known of containers that
/// had ended is taken from `known`: it cannot change any more.
///
/// # Errors
/// What the runtime answers, or that it is away.
pub async fn observation(
    cri: &Cri,
    pod_uid: &str,
    known: &PodObservation,
) -> CriResult<PodObservation> {
    let labels = HashMap::from([(labels::POD_UID.to_owned(), pod_uid.to_owned())]);
    let (sandboxes, containers) = cri.list(labels).await?;
    let mut found = PodObservation::default();
    for sandbox in sandboxes {
        if let Some(record) = sandbox_record(cri, sandbox).await? {
            found.sandboxes.push(record);
        }
    }
    for container in containers {
        let ended =
            |run: &&ContainerRecord| run.id == container.id && run.phase == ContainerPhase::Exited;
        let record = match known.containers.iter().find(ended) {
            Some(record) => Some(record.clone()),
            None => container_record(cri, container).await?,
        };
        found.containers.extend(record);
    }
    found
        .sandboxes
        .sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
    found
        .containers
        .sort_by_key(|run| std::cmp::Reverse((run.restart_count, run.created_at)));
    Ok(found)
}

async fn sandbox_record(cri: &Cri, sandbox: api::PodSandbox) -> CriResult<Option<SandboxRecord>> {
    let ready = sandbox.state == PodSandboxState::SandboxReady as i32;
    let mut record = SandboxRecord {
        attempt: sandbox
            .metadata
            .map(|metadata| metadata.attempt)
            .unwrap_or_default(),
        ready,
        created_at: time(sandbox.created_at),
        ips: Vec::new(),
        id: sandbox.id,
    };
    if !ready {
        return Ok(Some(record));
    }
    let request = api::PodSandboxStatusRequest {
        pod_sandbox_id: record.id.clone(),
        verbose: false,
    };
    match cri.pod_sandbox_status(request).await {
        Ok(answer) => {
            let network = answer
                .status
                .and_then(|status| status.network)
                .unwrap_or_default();
            record
                .ips
                .extend((!network.ip.is_empty()).then_some(network.ip));
            record
                .ips
                .extend(network.additional_ips.into_iter().map(|more| more.ip));
            Ok(Some(record))
        }
        // Gone between the two calls.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn container_record(
    cri: &Cri,
    container: api::Container,
) -> CriResult<Option<ContainerRecord>> {
    let request = api::ContainerStatusRequest {
        container_id: container.id.clone(),
        verbose: false,
    };
    let status = match cri.container_status(request).await {
        Ok(answer) => answer.status.unwrap_or_default(),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(record(container.pod_sandbox_id, status)))
}

fn record(sandbox_id: String, status: api::ContainerStatus) -> ContainerRecord {
    let annotation = |name: &str| status.annotations.get(name).cloned().unwrap_or_default();
    let attempt = status
        .metadata
        .as_ref()
        .map(|metadata| metadata.attempt)
        .unwrap_or_default();
    let mut record = ContainerRecord {
        name: status
            .labels
            .get(labels::CONTAINER_NAME)
            .cloned()
            .unwrap_or_default(),
        sandbox_id,
        restart_count: annotation(labels::RESTART_COUNT).parse().unwrap_or(attempt),
        phase: phase(status.state),
        created_at: time(status.created_at),
        started_at: time(status.started_at),
        finished_at: time(status.finished_at),
        exit_code: status.exit_code,
        message: status.message.clone(),
        image: status
            .image
            .as_ref()
            .map(|image| image.image.clone())
            .unwrap_or_default(),
        image_id: status.image_ref.clone(),
        spec_hash: annotation(labels::SPEC_HASH),
        log_path: status.log_path.clone(),
        reason: status.reason.clone(),
        id: status.id.clone(),
    };
    if record.phase == ContainerPhase::Exited {
        let path = annotation(labels::TERMINATION_MESSAGE_PATH);
        let policy = annotation(labels::TERMINATION_MESSAGE_POLICY);
        let mount = status
            .mounts
            .iter()
            .find(|mount| !path.is_empty() && mount.container_path == path);
        let file = mount.map(|mount| mount.host_path.as_str());
        if let Some(message) =
            crate::logs::termination_message(file, &policy, &record.log_path, record.exit_code)
        {
            record.message = message;
        }
    }
    record
}

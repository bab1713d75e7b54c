//! The running probes of a pod.

use super::action::{Handler, ProbeTarget, run_handler};
use super::state::{ProbeKind, ProbeState};
use crate::cri::{ContainerPhase, Cri, PodObservation};
use crate::events::PodEvents;
use crate::fields;
use crate::plan::ProbeView;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use kontiki_client::EventType;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const KINDS: [ProbeKind; 3] = [
    ProbeKind::Startup,
    ProbeKind::Readiness,
    ProbeKind::Liveness,
];

type Key = (String, ProbeKind);

/// The probes of one pod: a task each, which ends with this.
pub struct Probes {
    cri: Cri,
    events: PodEvents,
    wake: Arc<Notify>,
    verdicts: Arc<Mutex<BTreeMap<Key, Option<bool>>>>,
    tasks: BTreeMap<Key, JoinHandle<()>>,
}

fn probe(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
    }
}

/// What was reported of a container that runs since before this agent: what was
/// true stays so until a probe shows otherwise.
fn reported(pod: &Pod, (id, kind): &Key) -> Option<bool> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    let mut own = all.filter(|status| {
        status
            .container_id
            .as_ref()
            .is_some_and(|known| known.ends_with(id.as_str()))
    });
    let status = own.next()?;
    match kind {
        ProbeKind::Startup => (status.started == Some(true)).then_some(true),
        ProbeKind::Readiness => status.ready.then_some(true),
        ProbeKind::Liveness => None,
    }
}

impl Probes {
    /// None yet. `wake` is notified when a verdict changes.
    #[must_use]
    pub fn new(cri: Cri, events: PodEvents, wake: Arc<Notify>) -> Self {
        Self {
            cri,
            events,
            wake,
            verdicts: Arc::default(),
            tasks: BTreeMap::new(),
        }
    }

    /// Starts the probes of containers that run now and ends those of others.
    /// While a pod ends, only readiness is still probed.
    pub fn follow(
        &mut self,
        pod: &Pod,
        observed: &PodObservation,
        pod_ip: &str,
        is_stopping: bool,
    ) {
        let mut wanted = BTreeMap::new();
        for run in observed
            .containers
            .iter()
            .filter(|run| run.phase == ContainerPhase::Running)
        {
            let Some(container) = fields::container(pod, &run.name) else {
                continue;
            };
            for kind in KINDS {
                let applies = !is_stopping || kind == ProbeKind::Readiness;
                if let Some(probe) = probe(container, kind).filter(|_| applies) {
                    wanted.insert((run.id.clone(), kind), (container, probe));
                }
            }
        }
        let running: std::collections::BTreeSet<&str> =
            observed.alive().map(|run| run.id.as_str()).collect();
        self.verdicts
            .lock()
            .retain(|(id, _), _| running.contains(id.as_str()));
        self.tasks.retain(|key, task| {
            let keep = wanted.contains_key(key);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, (container, probe)) in wanted {
            if self.tasks.contains_key(&key) {
                continue;
            }
            let state = ProbeState::new(key.1, probe).resumed(reported(pod, &key));
            self.verdicts
                .lock()
                .entry(key.clone())
                .or_insert(state.verdict());
            let task = ProbeTask {
                pod: pod.clone(),
                target: ProbeTarget {
                    cri: self.cri.clone(),
                    container_id: key.0.clone(),
                    container: container.clone(),
                    pod_ip: pod_ip.to_owned(),
                },
                probe: probe.clone(),
                kind: key.1,
                state,
                has_startup: container.startup_probe.is_some(),
                events: self.events.clone(),
                wake: self.wake.clone(),
                verdicts: self.verdicts.clone(),
            };
            self.tasks.insert(key, tokio::spawn(task.run()));
        }
    }

    /// The verdicts, with what holds for containers without probes.
    #[must_use]
    pub fn view(&self, pod: &Pod, observed: &PodObservation) -> ProbeView {
        let verdicts = self.verdicts.lock();
        let mut view = ProbeView::default();
        for run in observed
            .containers
            .iter()
            .filter(|run| run.phase == ContainerPhase::Running)
        {
            let Some(container) = fields::container(pod, &run.name) else {
                continue;
            };
            let verdict = |kind: ProbeKind| match probe(container, kind) {
                None => Some(true),
                // Before its first result a probe has shown nothing.
                Some(probe) => {
                    let known = verdicts.get(&(run.id.clone(), kind)).copied();
                    known.unwrap_or_else(|| ProbeState::new(kind, probe).verdict())
                }
            };
            if verdict(ProbeKind::Startup) == Some(true) {
                view.started.insert(run.id.clone());
                if verdict(ProbeKind::Readiness) == Some(true) {
                    view.ready.insert(run.id.clone());
                }
            }
            for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
                if verdict(kind) == Some(false) {
                    view.failed.insert(run.id.clone(), kind.name());
                }
            }
        }
        view
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

struct ProbeTask {
    pod: Pod,
    target: ProbeTarget,
    probe: Probe,
    kind: ProbeKind,
    state: ProbeState,
    has_startup: bool,
    events: PodEvents,
    wake: Arc<Notify>,
    verdicts: Arc<Mutex<BTreeMap<Key, Option<bool>>>>,
}

impl ProbeTask {
    async fn run(self) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value
                    .and_then(|value| u64::try_from(value).ok())
                    .filter(|v| *v > 0)
                    .unwrap_or(default),
            )
        };
        let delay = self
            .probe
            .initial_delay_seconds
            .and_then(|delay| u64::try_from(delay).ok())
            .unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(delay)).await;
        let mut ticks = tokio::time::interval(seconds(self.probe.period_seconds, 10));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let mut state = self.state.clone();
        if self.kind == ProbeKind::Startup && state.verdict() == Some(true) {
            return;
        }
        loop {
            if self.is_held() {
                // Ready at once after the startup probe, not a period later.
                self.wait_for_start().await;
            }
            ticks.tick().await;
            let handler = Handler {
                exec: self.probe.exec.as_ref(),
                http_get: self.probe.http_get.as_ref(),
                tcp_socket: self.probe.tcp_socket.as_ref(),
                grpc: self.probe.grpc.as_ref(),
            };
            let result = run_handler(&self.target, &handler, timeout).await;
            if let Err(message) = &result {
                self.tell(message);
            }
            if state.observe(result.is_ok()) {
                self.verdicts
                    .lock()
                    .insert(self.key(self.kind), state.verdict());
                self.wake.notify_one();
            }
            if self.is_settled(&state) {
                return;
            }
        }
    }

    fn key(&self, kind: ProbeKind) -> Key {
        (self.target.container_id.clone(), kind)
    }

    /// A container that is started stays so, and one to be killed will be another.
    fn is_settled(&self, state: &ProbeState) -> bool {
        match self.kind {
            ProbeKind::Startup => state.verdict().is_some(),
            ProbeKind::Liveness => state.verdict() == Some(false),
            ProbeKind::Readiness => false,
        }
    }

    fn is_held(&self) -> bool {
        self.has_startup
            && self.kind != ProbeKind::Startup
            && self
                .verdicts
                .lock()
                .get(&self.key(ProbeKind::Startup))
                .copied()
                .flatten()
                != Some(true)
    }

    async fn wait_for_start(&self) {
        while self.is_held() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn tell(&self, message: &str) {
        let message = format!("{} probe failed: {message}", self.kind.title());
        self.events.container(
            &self.pod,
            &self.target.container.name,
            EventType::Warning,
            "Unhealthy",
            message,
        );
    }
}

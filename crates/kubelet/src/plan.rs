//! What to do next for one pod: its spec and what runs of it in, actions out.
//!
//! **Invariant:** pure. The same plan comes out after a restart of the agent as
//! before it, because everything it needs is asked of the runtime each time.

use crate::backoff::Backoff;
use crate::cri::{ContainerPhase, ContainerRecord, PodObservation};
use crate::labels::spec_hash;
use crate::spec::{self, PodExt, RestartPolicy, is_sidecar};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{BTreeMap, BTreeSet};

/// What probes have found out, by the runtime's name of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeView {
    /// Containers whose startup probe succeeded; those without one count, too.
    pub started: BTreeSet<String>,
    /// Containers whose readiness probe succeeds; those without one count, too.
    pub ready: BTreeSet<String>,
    /// Containers to be killed, and by which probe's verdict.
    pub failed: BTreeMap<String, &'static str>,
}

/// What a pod is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It is to run.
    Run,
    /// Nothing of it is to run any more.
    Stop,
}

/// What the plan is made from.
pub struct Situation<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it is to become.
    pub goal: Goal,
    /// What runs of it.
    pub observed: &'a PodObservation,
    /// What probes have found out.
    pub probes: &'a ProbeView,
    /// Waits of crashing containers.
    pub backoff: &'a Backoff,
    /// Now.
    pub now: Timestamp,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop every container, as their grace allows, then every sandbox.
    StopPod,
    /// Make a sandbox.
    CreateSandbox {
        /// Which of the pod's sandboxes it will be.
        attempt: u32,
    },
    /// Stop one container.
    StopContainer {
        /// The runtime's name for it.
        id: String,
        /// Its name.
        name: String,
        /// Why, for people.
        message: String,
    },
    /// Make and start one container.
    StartContainer {
        /// Its name.
        name: String,
        /// How often it has been started before.
        restart_count: u32,
    },
}

/// Why a container is not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In a word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Containers that wait for their next try.
    pub backing_off: BTreeMap<String, Waiting>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// Makes the plan.
#[must_use]
pub fn plan(situation: &Situation) -> Plan {
    let mut planner = Planner {
        situation,
        plan: Plan::default(),
    };
    match situation.goal {
        Goal::Stop => planner.stop(),
        Goal::Run => planner.run(),
    }
    planner.plan
}

struct Planner<'a> {
    situation: &'a Situation<'a>,
    plan: Plan,
}

/// What the init containers allow.
#[derive(PartialEq, Eq)]
enum Initialization {
    Done,
    Underway,
    Failed,
}

impl<'a> Planner<'a> {
    fn stop(&mut self) {
        if !self.situation.observed.is_quiet() {
            self.plan.actions.push(Action::StopPod);
        }
    }

    fn run(&mut self) {
        let Situation { pod, observed, .. } = *self.situation;
        let Some(sandbox) = observed.sandbox().filter(|sandbox| sandbox.ready) else {
            return self.new_sandbox();
        };
        // Whatever is left in an older sandbox belongs to a network that is gone.
        if observed.alive().any(|run| run.sandbox_id != sandbox.id) {
            self.plan.actions.push(Action::StopPod);
            return;
        }
        if self.is_over() {
            // Sidecars do not keep a pod alive.
            return self.stop();
        }
        match self.initialize(&sandbox.id) {
            Initialization::Underway => {}
            Initialization::Failed => self.stop(),
            Initialization::Done => {
                for container in pod.containers() {
                    self.keep_running(container, &sandbox.id);
                }
            }
        }
    }

    /// Whether every container has ended for good.
    fn is_over(&self) -> bool {
        let Situation { pod, observed, .. } = *self.situation;
        let ended = |container: &Container| {
            observed.latest(&container.name).is_some_and(|run| {
                run.phase == ContainerPhase::Exited
                    && !spec::restarts_after(pod, container, run.exit_code)
            })
        };
        !pod.containers().is_empty() && pod.containers().iter().all(ended)
    }

    fn new_sandbox(&mut self) {
        let Situation { pod, observed, .. } = *self.situation;
        let init_failed = pod.init_containers().iter().any(|container| {
            !is_sidecar(container)
                && observed
                    .latest(&container.name)
                    .is_some_and(|run| run.phase == ContainerPhase::Exited && run.exit_code != 0)
                && spec::restart_policy(pod, container) == RestartPolicy::Never
        });
        if init_failed || self.is_over() {
            return self.stop();
        }
        // Only what runs in the dead sandbox still has to be ended.
        if observed.alive().next().is_some() {
            self.plan.actions.push(Action::StopPod);
        }
        let attempt = observed.sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
        self.plan.actions.push(Action::CreateSandbox { attempt });
    }

    /// Brings the init containers forward, in their order.
    fn initialize(&mut self, sandbox_id: &str) -> Initialization {
        let Situation {
            pod,
            observed,
            probes,
            ..
        } = *self.situation;
        let begun = pod
            .containers()
            .iter()
            .any(|container| observed.latest_in(&container.name, sandbox_id).is_some());
        for container in pod.init_containers() {
            let run = observed.latest_in(&container.name, sandbox_id);
            if is_sidecar(container) {
                self.keep_running(container, sandbox_id);
                let is_up = run.is_some_and(|run| {
                    run.phase == ContainerPhase::Running && probes.started.contains(&run.id)
                });
                if !is_up && !begun {
                    return Initialization::Underway;
                }
                continue;
            }
            // Init containers do not run again beside the others.
            if begun {
                continue;
            }
            match run {
                Some(run) if run.phase == ContainerPhase::Exited && run.exit_code == 0 => {}
                Some(run) if run.phase == ContainerPhase::Running => {
                    return Initialization::Underway;
                }
                Some(run)
                    if run.phase == ContainerPhase::Exited
                        && spec::restart_policy(pod, container) == RestartPolicy::Never
                        && !spec::restarts_after(pod, container, run.exit_code) =>
                {
                    return Initialization::Failed;
                }
                _ => {
                    self.start(container, run);
                    return Initialization::Underway;
                }
            }
        }
        Initialization::Done
    }

    /// Sees to a container that is to run.
    fn keep_running(&mut self, container: &Container, sandbox_id: &str) {
        let Situation {
            pod,
            observed,
            probes,
            ..
        } = *self.situation;
        let Some(run) = observed.latest(&container.name) else {
            return self.start(container, None);
        };
        let policy_says_again =
            is_sidecar(container) || spec::restarts_after(pod, container, run.exit_code);
        match run.phase {
            ContainerPhase::Running if run.sandbox_id == sandbox_id => {
                if let Some(message) = self.reason_to_stop(container, run, probes) {
                    let (id, name) = (run.id.clone(), run.name.clone());
                    self.plan
                        .actions
                        .push(Action::StopContainer { id, name, message });
                }
            }
            ContainerPhase::Exited if !policy_says_again => {}
            ContainerPhase::Unknown => {
                let (id, name) = (run.id.clone(), run.name.clone());
                let message =
                    "Container is in unknown state, try killing it before restart".to_owned();
                self.plan
                    .actions
                    .push(Action::StopContainer { id, name, message });
                self.start(container, Some(run));
            }
            _ => self.start(container, Some(run)),
        }
    }

    fn reason_to_stop(
        &self,
        container: &Container,
        run: &ContainerRecord,
        probes: &ProbeView,
    ) -> Option<String> {
        let name = &container.name;
        if run.spec_hash != spec_hash(container) {
            return Some(format!(
                "Container {name} definition changed, will be restarted"
            ));
        }
        let probe = probes.failed.get(&run.id)?;
        let restarts = is_sidecar(container)
            || spec::restart_policy(self.situation.pod, container) != RestartPolicy::Never;
        let outcome = if restarts { ", will be restarted" } else { "" };
        Some(format!("Container {name} failed {probe} probe{outcome}"))
    }

    /// Starts a container, unless it has to wait after its last end.
    fn start(&mut self, container: &Container, last: Option<&'a ContainerRecord>) {
        let Situation {
            pod,
            observed,
            backoff,
            now,
            ..
        } = *self.situation;
        let name = &container.name;
        if let Some(last) = last.filter(|run| run.phase == ContainerPhase::Exited)
            && let Some((delay, end)) = backoff.waiting(name, last.finished_at, now)
        {
            let message = format!(
                "back-off {} restarting failed container={name} pod={}",
                go_duration(delay.as_secs()),
                pod.described()
            );
            self.plan.backing_off.insert(
                name.clone(),
                Waiting {
                    reason: "CrashLoopBackOff".to_owned(),
                    message,
                },
            );
            self.plan.wake_at = Some(self.plan.wake_at.map_or(end, |known| known.min(end)));
            return;
        }
        let restart_count = observed.latest(name).map_or(0, |run| run.restart_count + 1);
        self.plan.actions.push(Action::StartContainer {
            name: name.clone(),
            restart_count,
        });
    }
}

/// Seconds as Go writes durations: `10s`, `2m40s`, `5m0s`.
#[must_use]
pub fn go_duration(seconds: i64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;

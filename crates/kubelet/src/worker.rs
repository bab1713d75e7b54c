//! One pod, brought towards what its spec says.
//!
//! A worker looks (at the API's pod and the runtime's containers), plans, acts,
//! reports, and waits for the next cause to look again. It keeps nothing that
//! it could not find out again, but for waits and verdicts.

mod execute;
mod finish;
mod report;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::cri::{PodObservation, observation};
use crate::plan::{Goal, Plan, Situation, Waiting, plan};
use crate::probe::Probes;
use crate::spec::{self, PodExt};
use crate::status::{Verdict, is_final};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How soon a failed step is tried again at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// More rounds than this without a pause mean that something does not settle.
const ROUNDS_MAX: usize = 64;

/// What made a step fail; it has been told as an event where users look for it.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The runtime.
    #[error("{operation}: {0}", operation = .0.operation)]
    Cri(#[from] crate::cri::CriError),
    /// The API server.
    #[error("the API server: {0}")]
    Api(Box<kontiki_object::Status>),
    /// Volumes, files, mounts.
    #[error("{0}")]
    Local(String),
}

impl From<kontiki_object::Status> for StepError {
    fn from(status: kontiki_object::Status) -> Self {
        Self::Api(Box::new(status))
    }
}

/// What a round ended with.
enum Next {
    /// Look again at once: something was done.
    Again,
    /// Look again when told, or then.
    Wait(Option<Timestamp>),
    /// The pod is gone.
    Finished,
}

/// The worker of one pod.
pub struct Worker {
    context: Arc<Context>,
    key: String,
    uid: String,
    wake: Arc<Notify>,
    /// The pod as it was last seen.
    pod: Arc<Pod>,
    observed: PodObservation,
    probes: Probes,
    backoff: Backoff,
    waiting: BTreeMap<String, Waiting>,
    /// Containers that could not be started, and when to try again.
    held: BTreeMap<String, Timestamp>,
    verdict: Option<Verdict>,
    /// The status as it was last written.
    reported: Option<PodStatus>,
    /// The API server was told that the pod is over.
    is_deleted: bool,
    /// Why the status could not be written the last time.
    report_failed: Option<kontiki_object::Status>,
}

impl Worker {
    /// A worker for a pod; `wake` tells it that something changed.
    #[must_use]
    pub fn new(context: Arc<Context>, pod: Arc<Pod>, wake: Arc<Notify>) -> Self {
        let probes = Probes::new(context.cri.clone(), context.events.clone(), wake.clone());
        Self {
            key: format!("{}/{}", pod.namespace(), pod.name()),
            uid: pod.uid().to_owned(),
            context,
            wake,
            pod,
            observed: PodObservation::default(),
            probes,
            backoff: Backoff::for_restarts(),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            verdict: None,
            reported: None,
            is_deleted: false,
            report_failed: None,
        }
    }

    /// Works until the pod is gone.
    pub async fn run(mut self) {
        let mut retry = RETRY_MIN;
        let mut rounds = 0;
        loop {
            let pause = match self.round().await {
                Ok(Next::Finished) => return,
                Ok(Next::Again) if rounds < ROUNDS_MAX => {
                    rounds += 1;
                    continue;
                }
                Ok(Next::Again) => RETRY_MIN,
                Ok(Next::Wait(until)) => {
                    (retry, rounds) = (RETRY_MIN, 0);
                    self.pause(until)
                }
                Err(error) => {
                    tracing::warn!(pod = self.key, %error, "a pod could not be brought forward; it is tried again");
                    rounds = 0;
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    fn pause(&self, until: Option<Timestamp>) -> Duration {
        if self.report_failed.is_some() {
            return RETRY_MIN * 4;
        }
        let until = until.map(|until| until.duration_since(self.now()));
        let until = until
            .and_then(|until| Duration::try_from(until).ok())
            .unwrap_or(Duration::ZERO);
        match until {
            Duration::ZERO => self.context.config.sync_period,
            // Not a moment too early, or the plan would only wait again.
            until => (until + Duration::from_millis(10)).min(self.context.config.sync_period),
        }
    }

    async fn round(&mut self) -> Result<Next, StepError> {
        let current = self.context.pod(&self.key, &self.uid);
        let is_gone = current.is_none();
        if let Some(pod) = current {
            self.pod = pod;
        }
        self.observed = observation(&self.context.cri, &self.uid, &self.observed).await?;
        let is_stopping = is_gone || self.is_over();
        let pod_ip = self.pod_ips().into_iter().next().unwrap_or_default();
        self.probes
            .follow(&self.pod, &self.observed, &pod_ip, is_stopping);
        let goal = if is_stopping { Goal::Stop } else { Goal::Run };
        let plan = self.plan(goal);
        self.note_backoff(&plan);
        if !is_gone {
            self.report(goal).await;
        }
        if plan.actions.is_empty() {
            return match goal {
                Goal::Stop if is_gone => self.clear().await.map(|()| Next::Finished),
                Goal::Stop if self.pod.is_terminating() => self.finish().await,
                Goal::Stop => Ok(Next::Wait(None)),
                Goal::Run => self.settle(&plan).await,
            };
        }
        self.act(&plan, goal).await
    }

    /// Whether nothing of the pod is to run any more.
    fn is_over(&mut self) -> bool {
        if self.pod.is_terminating() || is_final(Some(self.pod.phase())) {
            return true;
        }
        if self.verdict.is_none()
            && self
                .deadline()
                .is_some_and(|deadline| self.now() >= deadline)
        {
            let message = "Pod was active on the node longer than the specified deadline";
            self.verdict = Some(Verdict {
                reason: "DeadlineExceeded".to_owned(),
                message: message.to_owned(),
            });
            let kind = kontiki_client::EventType::Normal;
            self.context
                .events
                .pod(&self.pod, kind, "DeadlineExceeded", message);
        }
        self.verdict.is_some()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = spec::of(&self.pod).active_deadline_seconds?;
        let reported = self
            .reported
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        let start = reported.or_else(|| self.pod.status.as_ref()?.start_time.as_ref())?;
        start.0.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    fn plan(&self, goal: Goal) -> Plan {
        let probes = self.probes.view(&self.pod, &self.observed);
        plan(&Situation {
            pod: &self.pod,
            goal,
            observed: &self.observed,
            probes: &probes,
            backoff: &self.backoff,
            now: self.now(),
        })
    }

    /// Takes over which containers wait after a crash, and tells of new ones.
    fn note_backoff(&mut self, plan: &Plan) {
        self.waiting.retain(|name, waiting| {
            waiting.reason != "CrashLoopBackOff" || plan.backing_off.contains_key(name)
        });
        for (name, waiting) in &plan.backing_off {
            if self.waiting.get(name) != Some(waiting) {
                let message = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    self.pod.described()
                );
                let kind = kontiki_client::EventType::Warning;
                self.context
                    .events
                    .container(&self.pod, name, kind, "BackOff", message);
                self.waiting.insert(name.clone(), waiting.clone());
            }
        }
    }

    /// Nothing to do: volumes follow their sources, old runs are removed.
    async fn settle(&mut self, plan: &Plan) -> Result<Next, StepError> {
        self.prepare_volumes().await?;
        self.remove_old_runs().await?;
        let deadline = self.deadline();
        Ok(Next::Wait(
            [plan.wake_at, deadline].into_iter().flatten().min(),
        ))
    }

    /// The pod's addresses: its sandbox's, or the node's.
    fn pod_ips(&self) -> Vec<String> {
        if self.pod.host_network() {
            return self.context.host_ips();
        }
        self.observed
            .sandbox()
            .filter(|sandbox| sandbox.ready)
            .map(|sandbox| sandbox.ips.clone())
            .unwrap_or_default()
    }
}

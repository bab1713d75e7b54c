//! Jobs: pods that run to their end, so many times.
//!
//! A pod carries the finalizer `batch.kubernetes.io/job-tracking` until the job's
//! status counts it, so that none is counted twice or lost however it goes:
//! first the status records the pod's UID, then the finalizer goes, then the
//! UID turns into a count.

mod pods_of;
mod status;

use crate::controller::{Context, selector_of};
use crate::fields::{flag, instant, int, text};
use crate::owners::claim;
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_client::EventType;
use kontiki_client::resources::{JOBS, PODS};
use kontiki_object::{Object, SharedObject, Status, Value};
use pods_of::{PodsOf, TRACKING};
use serde_json::json;
use status::Draft;
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) struct JobController;

pub(crate) enum State {
    /// A job and what may be its pods.
    Job(SharedObject, Vec<SharedObject>),
    /// Pods of a job that is gone.
    Orphans(Vec<SharedObject>),
}

const BACKOFF_FIRST: i64 = 10;
const BACKOFF_MAX: i64 = 600;

#[async_trait]
impl Reconciler for JobController {
    type State = State;

    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::own(JOBS), Watch::owned(PODS, "Job", JOBS)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(job) = context.caches.of(&JOBS).get(key) else {
            let (namespace, name) = key.split_once('/').unwrap_or(("", key));
            let mut orphans = context.caches.of(&PODS).list_namespace(namespace);
            orphans.retain(|pod| {
                let owner = pod.controller_of();
                owner.is_some_and(|owner| owner.kind == "Job" && owner.name == name)
            });
            return Ok((!orphans.is_empty()).then_some(State::Orphans(orphans)));
        };
        let managed_by = job.str_at(&["spec", "managedBy"]);
        if managed_by.is_some_and(|by| by != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let candidates = context.caches.claimable(&PODS, &job);
        Ok(Some(State::Job(job, candidates)))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let (job, candidates) = match state {
            State::Job(job, candidates) => (job, candidates),
            State::Orphans(pods) => {
                return Plan::of(pods.iter().filter_map(|pod| pods_of::untrack(pod)));
            }
        };
        let claimed = claim(&JOBS, job, &PODS, &selector_of(job), candidates.clone());
        if !claimed.actions.is_empty() {
            return Plan::of(claimed.actions);
        }
        let pods = PodsOf::new(job, claimed.owned);
        let mut plan = Plan {
            report: Some(job.clone()),
            ..Plan::default()
        };
        if Draft::is_finished(job) || job.is_terminating() {
            // What is left of its pods must be able to go.
            plan.actions
                .extend(pods.all.iter().filter_map(|pod| pods_of::untrack(pod)));
            return plan;
        }
        let mut draft = Draft::of(job, at.now);
        draft.count(&pods);
        let ending = ending(job, &draft, &pods, at);
        let live: Vec<&SharedObject> = pods.active().collect();
        let mut remove: Vec<Action> = Vec::new();
        match &ending {
            Some(ending) => {
                remove.extend(live.iter().map(|pod| Action::delete(&PODS, pod)));
                draft.condition(
                    if ending.failed {
                        "FailureTarget"
                    } else {
                        "SuccessCriteriaMet"
                    },
                    ending,
                );
                let all_counted = live.is_empty() && pods.ending() == 0 && draft.is_counted();
                if all_counted {
                    draft.finish(ending);
                    let kind = if ending.failed {
                        EventType::Warning
                    } else {
                        EventType::Normal
                    };
                    let reason = if ending.failed {
                        ending.reason
                    } else {
                        "Completed"
                    };
                    plan.event(job, kind, reason, ending.message.clone());
                }
            }
            None if flag(job, &["spec", "suspend"]) => {
                remove.extend(live.iter().map(|pod| Action::delete(&PODS, pod)));
                draft.suspend(&mut plan);
            }
            None => {
                draft.resume(&mut plan);
                manage(job, &draft, &pods, at, &mut plan, &mut remove);
            }
        }
        let creations = std::mem::take(&mut plan.actions);
        let status = draft.into_status(job, &pods);
        plan.actions.extend(Action::status(&JOBS, job, status));
        if plan.actions.is_empty() {
            // Only what the stored status already records may lose its finalizer.
            plan.actions
                .extend(pods.recorded(job).filter_map(|pod| pods_of::untrack(pod)));
        }
        plan.actions.extend(remove);
        plan.actions.extend(creations);
        if let Some(deadline) = deadline(job) {
            plan.requeue(crate::fields::until(deadline, at.now) + Duration::from_millis(1));
        }
        plan
    }
}

/// Why a job ends.
pub(crate) struct Ending {
    failed: bool,
    reason: &'static str,
    message: String,
}

impl Ending {
    fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            failed: true,
            reason,
            message: message.into(),
        }
    }
}

fn deadline(job: &Object) -> Option<jiff::Timestamp> {
    let seconds = int(job, &["spec", "activeDeadlineSeconds"])?;
    let start = instant(job, &["status", "startTime"])?;
    let passed = flag(job, &["spec", "suspend"]) || Draft::is_finished(job);
    (!passed).then(|| start + SignedDuration::from_secs(seconds))
}

fn ending(job: &Object, draft: &Draft, pods: &PodsOf, at: &Moment) -> Option<Ending> {
    if let Some(stored) = draft.stored_ending() {
        return Some(stored);
    }
    if let Some(ending) = pods.failed_by_policy(job) {
        return Some(ending);
    }
    let limit = int(job, &["spec", "backoffLimit"]).unwrap_or(6);
    let restarts = pods.restarts_that_count(job);
    if draft.failed() - pods.ignored_failures(job) + restarts > limit {
        let message = "Job has reached the specified backoff limit";
        return Some(Ending::failed("BackoffLimitExceeded", message));
    }
    if deadline(job).is_some_and(|deadline| deadline <= at.now) {
        let message = "Job was active longer than specified deadline";
        return Some(Ending::failed("DeadlineExceeded", message));
    }
    let complete = match int(job, &["spec", "completions"]) {
        Some(completions) => draft.succeeded() >= completions,
        // A work queue: one success says that the work is done; the rest ends by itself.
        None => draft.succeeded() > 0 && pods.active().next().is_none(),
    };
    complete.then(|| Ending {
        failed: false,
        reason: "CompletionsReached",
        message: "Reached expected number of succeeded pods".into(),
    })
}

/// Starts and stops pods until as many run as may.
fn manage(
    job: &SharedObject,
    draft: &Draft,
    pods: &PodsOf,
    at: &Moment,
    plan: &mut Plan,
    remove: &mut Vec<Action>,
) {
    let parallelism = int(job, &["spec", "parallelism"]).unwrap_or(1).max(0);
    let mut active: Vec<&SharedObject> = pods.active().collect();
    let completions = int(job, &["spec", "completions"]);
    let wanted = match completions {
        Some(completions) => parallelism.min((completions - draft.succeeded()).max(0)),
        None if draft.succeeded() > 0 => i64::try_from(active.len())
            .unwrap_or_default()
            .min(parallelism),
        None => parallelism,
    };
    let wanted = usize::try_from(wanted).unwrap_or_default();
    active.sort_by(|a, b| pods::by_deletion_rank(a, b));
    if active.len() > wanted {
        let surplus = active.len() - wanted;
        remove.extend(
            active
                .iter()
                .take(surplus)
                .map(|pod| Action::delete(&PODS, pod)),
        );
        return;
    }
    // With `Failed` a successor waits until its predecessor has ended altogether;
    // terminating pods hold their place otherwise, too, if the job is indexed.
    let held = match job.str_at(&["spec", "podReplacementPolicy"]) {
        Some("Failed") => pods.ending(),
        _ => 0,
    };
    let missing = wanted.saturating_sub(active.len() + held);
    if missing == 0 {
        return;
    }
    if let Some(wait) = backoff(pods, at) {
        plan.requeue(wait);
        return;
    }
    let bodies = match completions.filter(|_| is_indexed(job)) {
        Some(completions) => {
            let taken: BTreeSet<i64> = active
                .iter()
                .filter_map(|pod| pods_of::index(pod))
                .collect();
            let done = draft.completed_indexes();
            (0..completions)
                .filter(|index| !taken.contains(index) && !done.contains(index))
                .take(missing)
                .map(|index| pods_of::indexed(job, index))
                .collect()
        }
        None => vec![pods_of::plain(job); missing],
    };
    let creations = bodies
        .into_iter()
        .map(|body| Action::create(&PODS, job.namespace(), body));
    plan.actions.extend(creations);
}

/// After failures in a row new pods wait: 10 s, doubled up to 10 minutes.
fn backoff(pods: &PodsOf, at: &Moment) -> Option<Duration> {
    let (failures, last) = pods.failures_in_a_row()?;
    let doubled = 1i64.checked_shl(failures.saturating_sub(1).min(16))?;
    let wait = BACKOFF_FIRST.saturating_mul(doubled).min(BACKOFF_MAX);
    let until = last + SignedDuration::from_secs(wait);
    (until > at.now).then(|| crate::fields::until(until, at.now) + Duration::from_millis(1))
}

pub(crate) fn is_indexed(job: &Object) -> bool {
    job.str_at(&["spec", "completionMode"]) == Some("Indexed")
}

/// Whether a condition of a job's status holds: `Complete`, `Failed` …
pub(crate) fn finished_condition(job: &Object) -> Option<&Value> {
    let conditions = crate::fields::list(job, &["status", "conditions"]).iter();
    let mut ends = conditions.filter(|c| text(c, "status") == "True");
    ends.find(|c| matches!(text(c, "type"), "Complete" | "Failed"))
}

pub(crate) fn tracked(mut pod: Value) -> Value {
    pod["metadata"]["finalizers"] = json!([TRACKING]);
    pod
}

#[cfg(test)]
mod tests;

//! CronJobs: a Job at the times of a schedule.

mod schedule;

use crate::controller::Context;
use crate::fields::{flag, instant, int, list, text, until};
use crate::job::finished_condition;
use crate::owners::controller_reference;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kontiki_client::EventType;
use kontiki_client::resources::{CRON_JOBS, JOBS};
use kontiki_object::{Object, SharedObject, Status, Value, time};
use schedule::Schedule;
use serde_json::json;

/// Missed times that are looked at one by one; further back it leaps.
const MISSED_MAX: usize = 100;

pub(crate) struct CronJobController;

pub(crate) struct State {
    cron: SharedObject,
    jobs: Vec<SharedObject>,
}

#[async_trait]
impl Reconciler for CronJobController {
    type State = State;

    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(CRON_JOBS),
            Watch::owned(JOBS, "CronJob", CRON_JOBS),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(cron) = context.caches.of(&CRON_JOBS).get(key) else {
            return Ok(None);
        };
        let mut jobs = context.caches.owned(&JOBS, cron.uid());
        jobs.retain(|job| {
            job.controller_of()
                .is_some_and(|owner| owner.uid == cron.uid())
        });
        Ok(Some(State { cron, jobs }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let cron = &state.cron;
        let mut plan = Plan::nothing();
        if cron.is_terminating() {
            return plan;
        }
        let mut status = current_status(state, &mut plan);
        trim_history(state, &mut plan);
        if !flag(cron, &["spec", "suspend"]) {
            match Schedule::parse(
                cron.str_at(&["spec", "schedule"]).unwrap_or_default(),
                cron.str_at(&["spec", "timeZone"]),
            ) {
                Ok(schedule) => start_due(state, &schedule, at, &mut status, &mut plan),
                Err(error) => {
                    let message = format!("unparseable schedule: {error}");
                    plan.event(cron, EventType::Warning, "UnparseableSchedule", message);
                }
            }
        }
        plan.actions
            .extend(Action::status(&CRON_JOBS, cron, status));
        plan
    }
}

fn is_finished(job: &Object) -> bool {
    finished_condition(job).is_some()
}

fn reference(job: &Object) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job.name(),
        "namespace": job.namespace(), "uid": job.uid(), "resourceVersion": job.resource_version(),
    })
}

/// The stored status with `active` as the jobs really are.
fn current_status(state: &State, plan: &mut Plan) -> Value {
    let cron = &state.cron;
    let mut status = cron.get(&["status"]).cloned().unwrap_or_else(|| json!({}));
    let known = list(cron, &["status", "active"]);
    let mut active = Vec::new();
    for entry in known {
        let uid = text(entry, "uid");
        match state.jobs.iter().find(|job| job.uid() == uid) {
            Some(job) if is_finished(job) => {
                let end = finished_condition(job).map_or("", |condition| text(condition, "type"));
                let message = format!("Saw completed job: {}, condition: {end}", job.name());
                plan.event(cron, EventType::Normal, "SawCompletedJob", message);
            }
            Some(_) => active.push(entry.clone()),
            None => {
                let message = format!("Active job went missing: {}", text(entry, "name"));
                plan.event(cron, EventType::Normal, "MissingJob", message);
            }
        }
    }
    let unlisted = state
        .jobs
        .iter()
        .filter(|job| !is_finished(job) && !job.is_terminating());
    for job in unlisted {
        if !active.iter().any(|entry| text(entry, "uid") == job.uid()) {
            active.push(reference(job));
        }
    }
    status["active"] = if active.is_empty() {
        Value::Null
    } else {
        Value::Array(active)
    };
    let successes = state
        .jobs
        .iter()
        .filter_map(|job| instant(job, &["status", "completionTime"]));
    let stored = instant(cron, &["status", "lastSuccessfulTime"]);
    if let Some(last) = successes
        .max()
        .filter(|last| stored.is_none_or(|stored| *last > stored))
    {
        status["lastSuccessfulTime"] = json!(time::format(last));
    }
    status
}

fn trim_history(state: &State, plan: &mut Plan) {
    for (kind, limit, default) in [
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ] {
        let limit = int(&state.cron, &["spec", limit]).unwrap_or(default).max(0);
        let ended = |job: &&SharedObject| {
            finished_condition(job).is_some_and(|condition| text(condition, "type") == kind)
        };
        let mut jobs: Vec<&SharedObject> = state.jobs.iter().filter(ended).collect();
        jobs.sort_by_key(|job| {
            (
                instant(job, &["status", "startTime"]),
                job.name().to_owned(),
            )
        });
        let surplus = jobs
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        let surplus = jobs
            .into_iter()
            .take(surplus)
            .filter(|job| !job.is_terminating());
        plan.actions
            .extend(surplus.map(|job| Action::delete(&JOBS, job)));
    }
}

/// The latest time of the schedule that has passed and was not served yet.
fn latest_missed(cron: &Object, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let created = cron.created_at().unwrap_or(now);
    let mut earliest = instant(cron, &["status", "lastScheduleTime"]).unwrap_or(created);
    if let Some(deadline) = int(cron, &["spec", "startingDeadlineSeconds"]) {
        earliest = earliest.max(now - SignedDuration::from_secs(deadline.max(0)));
    }
    let mut latest = None;
    let mut gap = SignedDuration::ZERO;
    let mut looked = 0;
    while let Some(next) = schedule.next(earliest).filter(|next| *next <= now) {
        gap = gap.max(next.duration_since(earliest));
        latest = Some(next);
        earliest = next;
        looked += 1;
        if looked == MISSED_MAX {
            // A long outage: only the latest time matters.
            earliest = earliest.max(now - gap * 2);
        }
    }
    latest
}

fn start_due(state: &State, schedule: &Schedule, at: &Moment, status: &mut Value, plan: &mut Plan) {
    let cron = &state.cron;
    if let Some(next) = schedule.next(at.now) {
        // A little late rather than a little early.
        plan.requeue(until(next, at.now) + std::time::Duration::from_millis(100));
    }
    let Some(due) = latest_missed(cron, schedule, at.now) else {
        return;
    };
    let active: Vec<&SharedObject> = state
        .jobs
        .iter()
        .filter(|job| !is_finished(job) && !job.is_terminating())
        .collect();
    let name = format!("{}-{}", cron.name(), due.as_second() / 60);
    let exists = state.jobs.iter().any(|job| job.name() == name);
    match cron.str_at(&["spec", "concurrencyPolicy"]) {
        Some("Forbid") if !active.is_empty() && !exists => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.event(cron, EventType::Normal, "JobAlreadyActive", message);
            return;
        }
        Some("Replace") if !exists => {
            plan.actions
                .extend(active.iter().map(|job| Action::delete(&JOBS, job)));
        }
        _ => {}
    }
    if !exists {
        let job = job_for(cron, &name, due);
        plan.actions
            .push(Action::create(&JOBS, cron.namespace(), job));
        plan.event(
            cron,
            EventType::Normal,
            "SuccessfulCreate",
            format!("Created job {name}"),
        );
    }
    status["lastScheduleTime"] = json!(time::format(due));
}

fn job_for(cron: &Object, name: &str, due: Timestamp) -> Value {
    let template = cron
        .get(&["spec", "jobTemplate"])
        .cloned()
        .unwrap_or_default();
    let mut metadata = json!({
        "name": name, "namespace": cron.namespace(),
        "ownerReferences": [controller_reference(cron)],
    });
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    metadata["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] =
        json!(time::format(due));
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn cron(policy: &str) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n"},
            "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": policy,
                "jobTemplate": {"spec": {"template": {"spec": {}}}}},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_start_on_time_and_the_policy_decides_on_overlap() {
        // After 45 minutes from 03:04:05 the times 03:10, :20, :30 and :40 have passed.
        for (policy, jobs, active) in [("Allow", 4, 4), ("Forbid", 1, 1), ("Replace", 1, 1)] {
            let scenario = Scenario::start(&["cronjob-controller"]).await;
            scenario.create(&CRON_JOBS, cron(policy)).await;
            tokio::time::sleep(std::time::Duration::from_secs(45 * 60)).await;
            assert_eq!(scenario.api.objects(&JOBS).len(), jobs, "{policy}");
            let cron = scenario.get(&CRON_JOBS, "n/c");
            assert_eq!(list(&cron, &["status", "active"]).len(), active, "{policy}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn finished_jobs_are_kept_to_the_limit() {
        let scenario = Scenario::start(&["cronjob-controller"]).await;
        scenario.create(&CRON_JOBS, cron("Allow")).await;
        for _ in 0..8 {
            tokio::time::sleep(std::time::Duration::from_secs(600)).await;
            for job in scenario.api.objects(&JOBS) {
                let now = time::format(scenario.now());
                let status = json!({"startTime": now, "completionTime": now,
                    "conditions": [{"type": "Complete", "status": "True"}]});
                if finished_condition(&job).is_none() {
                    scenario.set_status(&JOBS, &job.key(), status).await;
                }
            }
        }
        scenario.settle().await;
        assert_eq!(scenario.api.objects(&JOBS).len(), 3);
        assert!(
            scenario
                .get(&CRON_JOBS, "n/c")
                .str_at(&["status", "lastSuccessfulTime"])
                .is_some()
        );
    }
}

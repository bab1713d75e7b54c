//! A deployment's status: counts, conditions, and how a rollout comes along.

use super::rollout;
use super::sets::{REVISION, Set, Sets, Spec};
use crate::fields::{Condition, condition, int, list, set_condition, text, until};
use crate::{Action, Moment, Plan};
use jiff::{SignedDuration, Timestamp};
use kontiki_client::resources::{DEPLOYMENTS, REPLICA_SETS};
use kontiki_object::{Object, SharedObject, Value, same_trees, time};
use serde_json::json;

struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    terminating: i64,
}

/// Plans the status, and the end of history that nobody needs.
pub(super) fn plan(
    deployment: &SharedObject,
    spec: &Spec,
    sets: &Sets,
    at: &Moment,
    plan: &mut Plan,
) {
    let sum = |field: &str| sets.all().map(|set| set.count(field)).sum();
    let counts = Counts {
        replicas: sum("replicas"),
        updated: sets.new.as_ref().map_or(0, |new| new.count("replicas")),
        ready: sum("readyReplicas"),
        available: sum("availableReplicas"),
        terminating: sum("terminatingReplicas"),
    };
    let mut conditions = list(deployment, &["status", "conditions"]).to_vec();
    availability(&mut conditions, spec, &counts, at.now);
    let wait = progress(&mut conditions, deployment, spec, sets, &counts, at.now);
    failure(&mut conditions, sets, at.now);
    let zero_is_absent = |count: i64| {
        if count == 0 {
            Value::Null
        } else {
            json!(count)
        }
    };
    let status = json!({
        "observedGeneration": deployment.generation(),
        "replicas": zero_is_absent(counts.replicas),
        "updatedReplicas": zero_is_absent(counts.updated),
        "readyReplicas": zero_is_absent(counts.ready),
        "availableReplicas": zero_is_absent(counts.available),
        "unavailableReplicas": zero_is_absent((sets.total() - counts.available).max(0)),
        "terminatingReplicas": counts.terminating,
        "collisionCount": int(deployment, &["status", "collisionCount"]),
        "conditions": conditions,
    });
    plan.actions
        .extend(Action::status(&DEPLOYMENTS, deployment, status));
    if let Some(wait) = wait {
        plan.requeue(wait);
    }
    if is_complete(deployment, spec, &counts) && !deployment.is_terminating() {
        for set in rollout::surplus(sets, spec.history_limit) {
            plan.actions
                .push(Action::delete(&REPLICA_SETS, &set.object));
        }
    }
}

/// Notes the creation of a ReplicaSet, from which on the clock of the progress
/// deadline runs, and the revision, in one write: controllers may write a
/// deployment's status, and its annotations along with that.
pub(super) fn tell_sets(deployment: &SharedObject, sets: &Sets, at: &Moment, plan: &mut Plan) {
    let mut body = deployment.to_value();
    let has_deadline = int(deployment, &["spec", "progressDeadlineSeconds"]).is_some();
    if let Some(name) = sets.created.as_deref().filter(|_| has_deadline) {
        let mut conditions = list(deployment, &["status", "conditions"]).to_vec();
        let message = format!("Created new replica set \"{name}\"");
        update(
            &mut conditions,
            "Progressing",
            "True",
            "NewReplicaSetCreated",
            message,
            at.now,
        );
        body["status"]["conditions"] = Value::Array(conditions);
    }
    if let Some(revision) = &sets.revision {
        body["metadata"]["annotations"][REVISION] = json!(revision);
    }
    if body
        .as_object()
        .is_some_and(|tree| same_trees(tree, deployment.tree()))
    {
        return;
    }
    let written = Action::Update {
        resource: DEPLOYMENTS,
        subresource: Some("status"),
        body,
    };
    // Right after the creation: what else is written can be tried again.
    let creation = plan
        .actions
        .iter()
        .position(|action| matches!(action, Action::Create { .. }));
    let place = creation.map_or(plan.actions.len(), |creation| creation + 1);
    plan.actions.insert(place, written);
}

fn is_complete(deployment: &Object, spec: &Spec, counts: &Counts) -> bool {
    let observed = int(deployment, &["status", "observedGeneration"]).unwrap_or_default();
    counts.updated == spec.replicas
        && counts.replicas == spec.replicas
        && counts.available == spec.replicas
        && observed >= deployment.generation()
}

fn update(
    conditions: &mut Vec<Value>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let condition = Condition {
        kind,
        status,
        reason,
        message,
    };
    let updated = [("lastUpdateTime", json!(time::format(now)))];
    set_condition(conditions, &condition, &updated, now);
}

/// Sets a condition unless its status and reason are that already: its times
/// must not move without cause, or every look would cause a write.
fn update_if_changed(
    conditions: &mut Vec<Value>,
    (kind, status, reason): (&str, &str, &str),
    message: String,
    now: Timestamp,
) {
    let same = |known: &Value| {
        text(known, "type") == kind
            && text(known, "status") == status
            && text(known, "reason") == reason
    };
    if !conditions.iter().any(same) {
        update(conditions, kind, status, reason, message, now);
    }
}

fn availability(conditions: &mut Vec<Value>, spec: &Spec, counts: &Counts, now: Timestamp) {
    let (verdict, message) = if counts.available >= spec.replicas - spec.max_unavailable {
        (
            ("Available", "True", "MinimumReplicasAvailable"),
            "Deployment has minimum availability.",
        )
    } else {
        (
            ("Available", "False", "MinimumReplicasUnavailable"),
            "Deployment does not have minimum availability.",
        )
    };
    update_if_changed(conditions, verdict, message.into(), now);
}

/// Keeps the `Progressing` condition; tells when the deadline passes.
fn progress(
    conditions: &mut Vec<Value>,
    deployment: &Object,
    spec: &Spec,
    sets: &Sets,
    counts: &Counts,
    now: Timestamp,
) -> Option<std::time::Duration> {
    let Some(deadline) = spec.progress_deadline_seconds else {
        conditions.retain(|known| text(known, "type") != "Progressing");
        return None;
    };
    let known = condition(deployment, "Progressing").cloned();
    let reason = known.as_ref().map_or("", |known| text(known, "reason"));
    if spec.paused {
        let verdict = ("Progressing", "Unknown", "DeploymentPaused");
        update_if_changed(conditions, verdict, "Deployment is paused".into(), now);
        return None;
    }
    if reason == "DeploymentPaused" {
        let verdict = ("Progressing", "Unknown", "DeploymentResumed");
        update_if_changed(conditions, verdict, "Deployment is resumed".into(), now);
        return Some(std::time::Duration::from_millis(1));
    }
    if counts.replicas == counts.updated && reason == "NewReplicaSetAvailable" {
        return None;
    }
    let new = sets.new.as_ref().map(|new| new.object.name());
    let subject = new.map_or_else(
        || format!("Deployment \"{}\"", deployment.name()),
        |name| format!("ReplicaSet \"{name}\""),
    );
    if is_complete(deployment, spec, counts) {
        let verdict = ("Progressing", "True", "NewReplicaSetAvailable");
        let message = format!("{subject} has successfully progressed.");
        update_if_changed(conditions, verdict, message, now);
        return None;
    }
    if known.is_none() || has_progressed(deployment, counts) {
        let message = format!("{subject} is progressing.");
        update(
            conditions,
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            message,
            now,
        );
        return Some(std::time::Duration::from_secs(
            u64::try_from(deadline).unwrap_or_default() + 1,
        ));
    }
    let since = known.as_ref().map(|known| text(known, "lastUpdateTime"));
    let since = since.and_then(time::parse).unwrap_or(now);
    let ends = since + SignedDuration::from_secs(deadline);
    if ends > now {
        return Some(until(ends, now) + std::time::Duration::from_secs(1));
    }
    let verdict = ("Progressing", "False", "ProgressDeadlineExceeded");
    update_if_changed(
        conditions,
        verdict,
        format!("{subject} has timed out progressing."),
        now,
    );
    None
}

fn has_progressed(deployment: &Object, counts: &Counts) -> bool {
    let before = |field: &str| int(deployment, &["status", field]).unwrap_or_default();
    let old_before = before("replicas") - before("updatedReplicas");
    counts.updated > before("updatedReplicas")
        || counts.replicas - counts.updated < old_before
        || counts.ready > before("readyReplicas")
        || counts.available > before("availableReplicas")
}

/// Passes a failure of a ReplicaSet on, the newest set's first.
fn failure(conditions: &mut Vec<Value>, sets: &Sets, now: Timestamp) {
    let failed = |set: &Set| condition(&set.object, "ReplicaFailure").cloned();
    match sets.all().find_map(failed) {
        Some(found) => {
            let verdict = (
                "ReplicaFailure",
                text(&found, "status"),
                text(&found, "reason"),
            );
            update_if_changed(conditions, verdict, text(&found, "message").to_owned(), now);
        }
        None => conditions.retain(|known| text(known, "type") != "ReplicaFailure"),
    }
}

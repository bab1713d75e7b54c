//! What controllers want to know about pods.

use crate::fields::{condition, instant, is_true, list, text, until};
use crate::owners::controller_reference;
use jiff::{SignedDuration, Timestamp};
use kontiki_object::{Object, SharedObject, Value};
use serde_json::json;
use std::cmp::Ordering;
use std::time::Duration;

/// `status.phase`; absent is `Pending`.
pub(crate) fn phase(pod: &Object) -> &str {
    pod.str_at(&["status", "phase"]).unwrap_or("Pending")
}

/// Succeeded or failed: its containers will not run again.
pub(crate) fn is_terminal(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither terminal nor being deleted.
pub(crate) fn is_active(pod: &Object) -> bool {
    !is_terminal(pod) && !pod.is_terminating()
}

/// Whether its `Ready` condition holds.
pub(crate) fn is_ready(pod: &Object) -> bool {
    is_true(pod, "Ready")
}

/// The node it is bound to.
pub(crate) fn node(pod: &Object) -> Option<&str> {
    pod.str_at(&["spec", "nodeName"])
}

/// When a ready pod counts as available; `None` while it is not ready.
pub(crate) fn available_at(pod: &Object, min_ready_seconds: i64) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    let since = condition(pod, "Ready").map(|ready| text(ready, "lastTransitionTime"));
    let since = since
        .and_then(kontiki_object::time::parse)
        .unwrap_or(Timestamp::UNIX_EPOCH);
    since
        .checked_add(SignedDuration::from_secs(min_ready_seconds))
        .ok()
}

/// Whether it has been ready long enough.
pub(crate) fn is_available(pod: &Object, min_ready_seconds: i64, now: Timestamp) -> bool {
    match available_at(pod, min_ready_seconds) {
        Some(at) => min_ready_seconds == 0 || at <= now,
        None => false,
    }
}

/// When the next of these pods becomes available by mere waiting.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a SharedObject>,
    min_ready_seconds: i64,
    now: Timestamp,
) -> Option<Duration> {
    if min_ready_seconds == 0 {
        return None;
    }
    let times = pods
        .into_iter()
        .filter_map(|pod| available_at(pod, min_ready_seconds));
    let next = times.filter(|at| *at > now).min()?;
    Some(until(next, now) + Duration::from_millis(1))
}

/// Orders pods so that those that are missed least come first: what a scale-down
/// deletes.
pub(crate) fn by_deletion_rank(a: &Object, b: &Object) -> Ordering {
    let bound = |pod: &Object| node(pod).is_some();
    let progress = |pod: &Object| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = |pod: &Object| -> i64 {
        let cost = pod.annotation("controller.kubernetes.io/pod-deletion-cost");
        cost.and_then(|cost| cost.parse().ok()).unwrap_or_default()
    };
    let restarts = |pod: &Object| -> i64 {
        let statuses = list(pod, &["status", "containerStatuses"]).iter();
        let counts = statuses.map(|status| status["restartCount"].as_i64().unwrap_or_default());
        counts.max().unwrap_or_default()
    };
    let ready_since = |pod: &Object| available_at(pod, 0);
    bound(a)
        .cmp(&bound(b))
        .then_with(|| progress(a).cmp(&progress(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| ready_since(b).cmp(&ready_since(a)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| b.created_at().cmp(&a.created_at()))
        .then_with(|| a.name().cmp(b.name()))
}

/// A pod of a template, controlled by `owner`. It has a `generateName`; whoever
/// wants a name replaces that.
pub(crate) fn from_template(template: &Value, owner: &Object) -> Value {
    let field = |name: &str| {
        template["metadata"]
            .get(name)
            .cloned()
            .unwrap_or(Value::Null)
    };
    let mut metadata = json!({
        "generateName": generate_name(owner.name()),
        "namespace": owner.namespace(),
        "ownerReferences": [controller_reference(owner)],
    });
    for name in ["labels", "annotations", "finalizers"] {
        let value = field(name);
        if !value.is_null() {
            metadata[name] = value;
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// `generateName` leaves room for its random suffix by itself.
fn generate_name(owner: &str) -> String {
    format!("{owner}-")
}

/// The time at which a pod's containers had all ended.
pub(crate) fn finished_at(pod: &Object) -> Option<Timestamp> {
    let statuses = list(pod, &["status", "containerStatuses"]).iter();
    let ends = statuses.filter_map(|status| {
        let end = status["state"]["terminated"]["finishedAt"].as_str()?;
        kontiki_object::time::parse(end)
    });
    ends.max()
        .or_else(|| {
            condition(pod, "Ready")
                .and_then(|ready| kontiki_object::time::parse(text(ready, "lastTransitionTime")))
        })
        .or_else(|| instant(pod, &["metadata", "deletionTimestamp"]))
        .or_else(|| pod.created_at())
}

/// Whether a toleration list tolerates a taint; and for how many seconds if it
/// names a limit.
pub(crate) fn tolerates(tolerations: &[Value], taint: &Value) -> Option<Option<i64>> {
    let matching = tolerations.iter().filter(|toleration| {
        let effect = text(toleration, "effect");
        let key = text(toleration, "key");
        let exists = text(toleration, "operator") == "Exists";
        (effect.is_empty() || effect == text(taint, "effect"))
            && (key.is_empty() && exists || key == text(taint, "key"))
            && (exists || text(toleration, "value") == text(taint, "value"))
    });
    let limits: Vec<Option<i64>> = matching
        .map(|toleration| toleration["tolerationSeconds"].as_i64())
        .collect();
    if limits.is_empty() {
        return None;
    }
    // The shortest limit counts; no limit only if none of them has one.
    Some(limits.into_iter().flatten().min())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_matches_as_upstream_says() {
        let taint = json!({"key": "k", "value": "v", "effect": "NoExecute"});
        let table = [
            (json!([]), None),
            (json!([{"operator": "Exists"}]), Some(None)),
            (
                json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]),
                None,
            ),
            (json!([{"key": "k", "value": "v"}]), Some(None)),
            (json!([{"key": "k", "value": "w"}]), None),
            (
                json!([{"key": "k", "value": "v", "tolerationSeconds": 9}, {"operator": "Exists", "tolerationSeconds": 3}]),
                Some(Some(3)),
            ),
        ];
        for (tolerations, expected) in table {
            let list = tolerations.as_array().expect("a list");
            assert_eq!(tolerates(list, &taint), expected, "{tolerations}");
        }
    }

    #[test]
    fn the_least_missed_pod_comes_first() {
        let pod = |name: &str, spec: Value, status: Value, cost: &str| {
            Object::from_value(json!({
                "metadata": {"name": name, "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}},
                "spec": spec, "status": status,
            }))
            .expect("a map")
        };
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let bound = json!({"nodeName": "x"});
        let mut pods = [
            pod("dear", bound.clone(), ready.clone(), "10"),
            pod("ready", bound.clone(), ready, "0"),
            pod("running", bound.clone(), json!({"phase": "Running"}), "0"),
            pod("pending", bound, json!({"phase": "Pending"}), "0"),
            pod("unbound", json!({}), json!({"phase": "Pending"}), "99"),
        ];
        pods.sort_by(by_deletion_rank);
        let names: Vec<&str> = pods.iter().map(Object::name).collect();
        assert_eq!(names, ["unbound", "pending", "running", "ready", "dear"]);
    }
}

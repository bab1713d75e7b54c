//! A job's pods: which run, which have ended, and what a new one looks like.

use super::{Ending, is_indexed, tracked};
use crate::fields::{condition, list, text};
use crate::{Action, pods};
use jiff::Timestamp;
use kontiki_client::resources::PODS;
use kontiki_object::{Object, SharedObject, Value};
use serde_json::json;
use std::collections::HashSet;

pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub(super) struct PodsOf {
    pub all: Vec<SharedObject>,
}

pub(super) fn index(pod: &Object) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

fn is_tracked(pod: &Object) -> bool {
    pod.finalizers().any(|known| known == TRACKING)
}

/// Takes the tracking finalizer off a pod.
pub(super) fn untrack(pod: &Object) -> Option<Action> {
    is_tracked(pod).then(|| {
        let others: Vec<&str> = pod
            .finalizers()
            .filter(|known| *known != TRACKING)
            .collect();
        let others = if others.is_empty() {
            Value::Null
        } else {
            json!(others)
        };
        let patch = json!({"metadata": {
            "uid": pod.uid(), "resourceVersion": pod.resource_version(), "finalizers": others,
        }});
        Action::patch(&PODS, pod, patch)
    })
}

/// A pod of the job's template.
pub(super) fn plain(job: &Object) -> Value {
    let template = job.get(&["spec", "template"]).cloned().unwrap_or_default();
    tracked(pods::from_template(&template, job))
}

/// The pod of one index: its index is in its labels, its environment and its name.
pub(super) fn indexed(job: &Object, index: i64) -> Value {
    let mut pod = plain(job);
    let metadata = &mut pod["metadata"];
    metadata["annotations"][INDEX] = json!(index.to_string());
    metadata["labels"][INDEX] = json!(index.to_string());
    metadata["generateName"] = json!(format!("{}-{index}-", job.name()));
    let hostname = &mut pod["spec"]["hostname"];
    if hostname.is_null() {
        *hostname = json!(format!("{}-{index}", job.name()));
    }
    let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {
        "apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']"),
    }}});
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            let known = container["env"].as_array().into_iter().flatten();
            if known
                .into_iter()
                .any(|env| text(env, "name") == "JOB_COMPLETION_INDEX")
            {
                continue;
            }
            match container["env"].as_array_mut() {
                Some(env) => env.push(variable.clone()),
                None => container["env"] = json!([variable]),
            }
        }
    }
    if pod["spec"]["initContainers"].is_null() {
        pod["spec"]
            .as_object_mut()
            .map(|spec| spec.remove("initContainers"));
    }
    pod
}

impl PodsOf {
    pub(super) fn new(job: &Object, mut all: Vec<SharedObject>) -> Self {
        all.retain(|pod| {
            pod.controller_of()
                .is_some_and(|owner| owner.uid == job.uid())
        });
        all.sort_by_key(|pod| (pod.created_at(), pod.name().to_owned()));
        Self { all }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &SharedObject> {
        self.all.iter().filter(|pod| pods::is_active(pod))
    }

    pub(super) fn ready(&self) -> usize {
        self.active().filter(|pod| pods::is_ready(pod)).count()
    }

    /// Pods that are being deleted and have not ended.
    pub(super) fn ending(&self) -> usize {
        let ending = |pod: &&SharedObject| pod.is_terminating() && !pods::is_terminal(pod);
        self.all.iter().filter(ending).count()
    }

    pub(super) fn succeeded(&self) -> impl Iterator<Item = &SharedObject> {
        let tracked = self.all.iter().filter(|pod| is_tracked(pod));
        tracked.filter(|pod| pods::phase(pod) == "Succeeded")
    }

    /// Pods that failed, or that are deleted before they ended.
    pub(super) fn failed(&self) -> impl Iterator<Item = &SharedObject> {
        let tracked = self.all.iter().filter(|pod| is_tracked(pod));
        tracked.filter(|pod| {
            let unbound = pods::node(pod).is_none();
            pods::phase(pod) == "Failed"
                || pod.is_terminating() && pods::phase(pod) != "Succeeded" && unbound
        })
    }

    /// Pods whose UIDs the stored status has as uncounted.
    pub(super) fn recorded(&self, job: &Object) -> impl Iterator<Item = &SharedObject> {
        let mut uids: HashSet<String> = HashSet::new();
        for list_name in ["succeeded", "failed"] {
            let path = ["status", "uncountedTerminatedPods", list_name];
            let known = list(job, &path).iter().filter_map(Value::as_str);
            uids.extend(known.map(str::to_owned));
        }
        self.all.iter().filter(move |pod| uids.contains(pod.uid()))
    }

    pub(super) fn still_tracked(&self, uid: &str) -> bool {
        self.all
            .iter()
            .any(|pod| pod.uid() == uid && is_tracked(pod))
    }

    /// Restarts inside running pods count as failures with `OnFailure`.
    pub(super) fn restarts_that_count(&self, job: &Object) -> i64 {
        let policy = job.str_at(&["spec", "template", "spec", "restartPolicy"]);
        if policy != Some("OnFailure") {
            return 0;
        }
        let restarts = |pod: &SharedObject| -> i64 {
            let main = list(pod, &["status", "containerStatuses"]).iter();
            let init = list(pod, &["status", "initContainerStatuses"]).iter();
            main.chain(init)
                .filter_map(|status| status["restartCount"].as_i64())
                .sum()
        };
        self.active().map(restarts).sum()
    }

    /// Failures since the last success, and the time of the last one.
    pub(super) fn failures_in_a_row(&self) -> Option<(u32, Timestamp)> {
        let ends = |phase: &'static str| {
            let of_phase = self.all.iter().filter(move |pod| pods::phase(pod) == phase);
            of_phase.filter_map(|pod| pods::finished_at(pod))
        };
        let success = ends("Succeeded").max();
        let failures: Vec<Timestamp> = ends("Failed")
            .filter(|at| success.is_none_or(|success| *at > success))
            .collect();
        let last = failures.iter().max()?;
        Some((u32::try_from(failures.len()).unwrap_or(u32::MAX), *last))
    }

    /// The first failure that the pod failure policy says fails the whole job.
    pub(super) fn failed_by_policy(&self, job: &Object) -> Option<Ending> {
        let mut failed = self.all.iter().filter(|pod| pods::phase(pod) == "Failed");
        failed.find_map(|pod| {
            let (rule, action) = matching_rule(job, pod)?;
            (action == "FailJob").then(|| {
                let message = format!(
                    "Pod {} matched the pod failure policy's rule at index {rule}",
                    pod.key()
                );
                Ending::failed("PodFailurePolicy", message)
            })
        })
    }

    /// Failures that the policy does not count.
    pub(super) fn ignored_failures(&self, job: &Object) -> i64 {
        let failed = self.all.iter().filter(|pod| pods::phase(pod) == "Failed");
        let ignored =
            failed.filter(|pod| matching_rule(job, pod).is_some_and(|(_, a)| a == "Ignore"));
        i64::try_from(ignored.count()).unwrap_or(i64::MAX)
    }

    pub(super) fn indexes<'a>(
        &'a self,
        job: &Object,
        phase: &'static str,
    ) -> impl Iterator<Item = i64> + 'a {
        let indexed = is_indexed(job);
        let ended = self
            .all
            .iter()
            .filter(move |pod| indexed && pods::phase(pod) == phase);
        ended.filter_map(|pod| index(pod))
    }
}

/// The first rule of `spec.podFailurePolicy` that a failed pod matches.
fn matching_rule<'a>(job: &'a Object, pod: &Object) -> Option<(usize, &'a str)> {
    let rules = list(job, &["spec", "podFailurePolicy", "rules"]);
    let (place, rule) = rules.iter().enumerate().find(|(_, rule)| {
        matches_exit_code(&rule["onExitCodes"], pod)
            || matches_condition(&rule["onPodConditions"], pod)
    })?;
    Some((place, text(rule, "action")))
}

fn matches_exit_code(wanted: &Value, pod: &Object) -> bool {
    let Some(codes) = wanted["values"].as_array() else {
        return false;
    };
    let container = wanted["containerName"].as_str();
    let main = list(pod, &["status", "containerStatuses"]).iter();
    let mut statuses = main.chain(list(pod, &["status", "initContainerStatuses"]));
    statuses.any(|status| {
        let code = status["state"]["terminated"]["exitCode"].as_i64();
        let named = container.is_none_or(|name| text(status, "name") == name);
        let Some(code) = code.filter(|code| *code != 0 && named) else {
            return false;
        };
        codes.contains(&json!(code)) == (text(wanted, "operator") == "In")
    })
}

fn matches_condition(wanted: &Value, pod: &Object) -> bool {
    let mut patterns = wanted.as_array().into_iter().flatten();
    patterns.any(|pattern| {
        let status = match text(pattern, "status") {
            "" => "True",
            status => status,
        };
        condition(pod, text(pattern, "type")).is_some_and(|known| text(known, "status") == status)
    })
}

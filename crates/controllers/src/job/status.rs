//! A job's status while it is being worked out.

use super::pods_of::{PodsOf, index};
use super::{Ending, finished_condition, is_indexed};
use crate::Plan;
use crate::fields::{Condition, int, list, set_condition, text};
use jiff::Timestamp;
use kontiki_client::EventType;
use kontiki_object::{Object, SharedObject, Value, time};
use serde_json::json;
use std::collections::BTreeSet;

/// UIDs that one status may carry before they are counted.
const UNCOUNTED_MAX: usize = 500;

pub(super) struct Draft {
    job: SharedObject,
    now: Timestamp,
    conditions: Vec<Value>,
    start: Value,
    end: Value,
    succeeded: i64,
    failed: i64,
    uncounted_succeeded: Vec<String>,
    uncounted_failed: Vec<String>,
    completed: BTreeSet<i64>,
}

impl Draft {
    pub(super) fn is_finished(job: &Object) -> bool {
        finished_condition(job).is_some()
    }

    pub(super) fn of(job: &SharedObject, now: Timestamp) -> Self {
        let uids = |field: &str| -> Vec<String> {
            let path = ["status", "uncountedTerminatedPods", field];
            let uids = list(job, &path).iter().filter_map(Value::as_str);
            uids.map(str::to_owned).collect()
        };
        let completed = job
            .str_at(&["status", "completedIndexes"])
            .unwrap_or_default();
        Self {
            now,
            conditions: list(job, &["status", "conditions"]).to_vec(),
            start: job
                .get(&["status", "startTime"])
                .cloned()
                .unwrap_or_default(),
            end: Value::Null,
            succeeded: int(job, &["status", "succeeded"]).unwrap_or_default(),
            failed: int(job, &["status", "failed"]).unwrap_or_default(),
            uncounted_succeeded: uids("succeeded"),
            uncounted_failed: uids("failed"),
            completed: parse_indexes(completed),
            job: job.clone(),
        }
    }

    /// Turns UIDs whose pods lost the finalizer into counts, and takes newly
    /// ended pods up as UIDs.
    pub(super) fn count(&mut self, pods: &PodsOf) {
        let indexed = is_indexed(&self.job);
        for (uids, counter) in [
            (&mut self.uncounted_succeeded, &mut self.succeeded),
            (&mut self.uncounted_failed, &mut self.failed),
        ] {
            let before = uids.len();
            uids.retain(|uid| pods.still_tracked(uid));
            *counter += i64::try_from(before - uids.len()).unwrap_or_default();
        }
        for pod in pods.succeeded() {
            let known = self.uncounted_succeeded.iter().any(|uid| uid == pod.uid());
            if known || self.uncounted_succeeded.len() >= UNCOUNTED_MAX {
                continue;
            }
            self.uncounted_succeeded.push(pod.uid().to_owned());
            if let Some(index) = index(pod).filter(|_| indexed) {
                self.completed.insert(index);
            }
        }
        for pod in pods.failed() {
            let known = self.uncounted_failed.iter().any(|uid| uid == pod.uid());
            if !known && self.uncounted_failed.len() < UNCOUNTED_MAX {
                self.uncounted_failed.push(pod.uid().to_owned());
            }
        }
        if indexed {
            let completions = int(&self.job, &["spec", "completions"]).unwrap_or_default();
            self.completed.extend(pods.indexes(&self.job, "Succeeded"));
            self.completed.retain(|index| *index < completions);
        }
    }

    pub(super) fn succeeded(&self) -> i64 {
        if is_indexed(&self.job) {
            return i64::try_from(self.completed.len()).unwrap_or(i64::MAX);
        }
        self.succeeded + i64::try_from(self.uncounted_succeeded.len()).unwrap_or_default()
    }

    pub(super) fn failed(&self) -> i64 {
        self.failed + i64::try_from(self.uncounted_failed.len()).unwrap_or_default()
    }

    pub(super) fn completed_indexes(&self) -> &BTreeSet<i64> {
        &self.completed
    }

    /// Whether every pod that ended is a number.
    pub(super) fn is_counted(&self) -> bool {
        self.uncounted_succeeded.is_empty() && self.uncounted_failed.is_empty()
    }

    /// The ending that the status already announces.
    pub(super) fn stored_ending(&self) -> Option<Ending> {
        let known = self.conditions.iter().find(|c| {
            matches!(text(c, "type"), "FailureTarget" | "SuccessCriteriaMet")
                && text(c, "status") == "True"
        })?;
        let reasons = [
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "PodFailurePolicy",
            "CompletionsReached",
        ];
        let reason = reasons
            .into_iter()
            .find(|reason| *reason == text(known, "reason"));
        Some(Ending {
            failed: text(known, "type") == "FailureTarget",
            reason: reason.unwrap_or("JobEnds"),
            message: text(known, "message").to_owned(),
        })
    }

    pub(super) fn condition(&mut self, kind: &str, ending: &Ending) {
        self.set(kind, "True", ending.reason, &ending.message);
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let known = self.conditions.iter().find(|c| text(c, "type") == kind);
        if known.is_some_and(|known| text(known, "status") == status) {
            return;
        }
        let condition = Condition {
            kind,
            status,
            reason,
            message: message.to_owned(),
        };
        let probed = [("lastProbeTime", json!(time::format(self.now)))];
        set_condition(&mut self.conditions, &condition, &probed, self.now);
    }

    pub(super) fn finish(&mut self, ending: &Ending) {
        if ending.failed {
            self.condition("Failed", ending);
        } else {
            self.condition("Complete", ending);
            self.end = json!(time::format(self.now));
        }
    }

    pub(super) fn suspend(&mut self, plan: &mut Plan) {
        let suspended = |c: &Value| text(c, "type") == "Suspended" && text(c, "status") == "True";
        if !self.conditions.iter().any(suspended) {
            self.set("Suspended", "True", "JobSuspended", "Job suspended");
            plan.event(&self.job, EventType::Normal, "Suspended", "Job suspended");
        }
        self.start = Value::Null;
    }

    pub(super) fn resume(&mut self, plan: &mut Plan) {
        let suspended = |c: &Value| text(c, "type") == "Suspended" && text(c, "status") == "True";
        if self.conditions.iter().any(suspended) {
            self.set("Suspended", "False", "JobResumed", "Job resumed");
            plan.event(&self.job, EventType::Normal, "Resumed", "Job resumed");
        }
        if self.start.is_null() {
            self.start = json!(time::format(self.now));
        }
    }

    pub(super) fn into_status(self, job: &Object, pods: &PodsOf) -> Value {
        let zero_is_absent = |count: i64| {
            if count == 0 {
                Value::Null
            } else {
                json!(count)
            }
        };
        let active = pods.active().count();
        let lists = |uids: &[String]| {
            if uids.is_empty() {
                Value::Null
            } else {
                json!(uids)
            }
        };
        let mut status = json!({
            "startTime": self.start, "completionTime": self.end,
            "active": zero_is_absent(i64::try_from(active).unwrap_or_default()),
            "ready": pods.ready(), "terminating": pods.ending(),
            "succeeded": zero_is_absent(self.succeeded), "failed": zero_is_absent(self.failed),
            "uncountedTerminatedPods": {
                "succeeded": lists(&self.uncounted_succeeded),
                "failed": lists(&self.uncounted_failed),
            },
        });
        if !self.conditions.is_empty() {
            status["conditions"] = Value::Array(self.conditions);
        }
        if is_indexed(job) {
            let indexes = format_indexes(&self.completed);
            status["succeeded"] =
                zero_is_absent(i64::try_from(self.completed.len()).unwrap_or_default());
            status["completedIndexes"] = if indexes.is_empty() {
                Value::Null
            } else {
                json!(indexes)
            };
        }
        status
    }
}

/// `1,3-5,7`.
fn parse_indexes(text: &str) -> BTreeSet<i64> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            indexes.extend(first..=last.min(first + 1_000_000));
        }
    }
    indexes
}

fn format_indexes(indexes: &BTreeSet<i64>) -> String {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => spans.push((*index, *index)),
        }
    }
    let text = spans.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_spans() {
        for text in ["", "3", "0,1", "0-2", "1,3-5,7", "0,2,4-9,11,12"] {
            assert_eq!(format_indexes(&parse_indexes(text)), text);
        }
    }
}

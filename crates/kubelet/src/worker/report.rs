//! Telling the API server how the pod is.

use super::Worker;
use crate::plan::Goal;
use crate::spec::PodExt;
use crate::status::{StatusInput, pod_status};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kontiki_client::{PatchKind, resources};
use kontiki_object::Value;
use serde_json::json;

impl Worker {
    /// Writes the pod's status, if it is not what was last written. Containers
    /// do not wait for the API server: what fails here is tried again later.
    pub(super) async fn report(&mut self, goal: Goal) {
        let status = self.status(goal);
        if self.reported.as_ref() == Some(&status) {
            return;
        }
        let former = self.pod.status.clone().unwrap_or_default();
        let patch = patch(&self.uid, &former, &status);
        let pods = self
            .context
            .client
            .namespaced(&resources::PODS, self.pod.namespace());
        match pods
            .patch_status(self.pod.name(), PatchKind::StrategicMerge, patch)
            .await
        {
            Ok(_) => {
                self.reported = Some(status);
                self.report_failed = None;
            }
            // Gone, or another of the same name: the view will tell.
            Err(error) if error.is_not_found() || error.is_conflict() => self.report_failed = None,
            Err(error) => {
                tracing::debug!(pod = self.key, %error, "a pod's status could not be written");
                self.report_failed = Some(error);
            }
        }
    }

    fn status(&self, goal: Goal) -> PodStatus {
        // What was written last is newer than what has come back.
        let mut pod: Pod = (*self.pod).clone();
        if let Some(reported) = &self.reported {
            pod.status = Some(merged(reported, pod.status.as_ref()));
        }
        let probes = self.probes.view(&pod, &self.observed);
        pod_status(&StatusInput {
            pod: &pod,
            observed: &self.observed,
            probes: &probes,
            waiting: &self.waiting,
            host_ips: &self.context.host_ips(),
            is_stopping: goal == Goal::Stop,
            verdict: self.verdict.as_ref(),
            now: self.now(),
        })
    }
}

/// Our own word, with the conditions that others keep.
fn merged(reported: &PodStatus, stored: Option<&PodStatus>) -> PodStatus {
    let mut status = reported.clone();
    let ours = status.conditions.get_or_insert_default();
    for condition in stored
        .iter()
        .flat_map(|stored| stored.conditions.iter().flatten())
    {
        if !ours.iter().any(|own| own.type_ == condition.type_) {
            ours.push(condition.clone());
        }
    }
    status
}

/// The strategic merge patch that makes `status` of what is stored. Lists that
/// are merged by a key need their left-over entries deleted by name, and fields
/// that are gone must be nulled.
fn patch(uid: &str, stored: &PodStatus, status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).expect("a status always encodes");
    for condition in value["conditions"].as_array_mut().into_iter().flatten() {
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    for field in ["reason", "message", "podIP"] {
        if value.get(field).is_none() {
            value[field] = Value::Null;
        }
    }
    let current = |ip: &str| status.pod_ips.iter().flatten().any(|known| known.ip == ip);
    let gone: Vec<Value> = stored
        .pod_ips
        .iter()
        .flatten()
        .filter(|ip| !current(&ip.ip))
        .map(|ip| json!({"ip": ip.ip, "$patch": "delete"}))
        .collect();
    if !gone.is_empty() {
        match value.get_mut("podIPs").and_then(Value::as_array_mut) {
            Some(ips) => ips.extend(gone),
            None => value["podIPs"] = Value::Array(gone),
        }
    }
    json!({"metadata": {"uid": uid}, "status": value})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_deletes_what_a_merge_would_keep() {
        let stored: PodStatus =
            serde_json::from_value(json!({"podIPs": [{"ip": "1"}, {"ip": "2"}]}))
                .expect("a status");
        let status: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "podIP": "2", "podIPs": [{"ip": "2"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }))
        .expect("a status");
        let patch = patch("u", &stored, &status);
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(
            patch["status"]["podIPs"],
            json!([{"ip": "2"}, {"ip": "1", "$patch": "delete"}])
        );
        assert_eq!(patch["status"]["conditions"][0]["reason"], Value::Null);
        assert!(
            patch["status"]
                .as_object()
                .expect("a map")
                .contains_key("message")
        );
    }

    #[test]
    fn the_conditions_of_others_are_known() {
        let reported: PodStatus =
            serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": "True"}]}))
                .expect("a status");
        let stored: PodStatus = serde_json::from_value(
            json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "gate", "status": "True"}]}),
        )
        .expect("a status");
        let merged = merged(&reported, Some(&stored));
        let shown: Vec<String> = merged
            .conditions
            .iter()
            .flatten()
            .map(|c| format!("{}={}", c.type_, c.status))
            .collect();
        assert_eq!(shown, ["Ready=True", "gate=True"]);
    }
}

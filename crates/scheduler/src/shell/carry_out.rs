//! Writes decisions: bindings, conditions, evictions, events.

use super::state::Decision;
use crate::pod::Pod;
use kontiki_client::events::{Occurrence, reference};
use kontiki_client::{
    Client, Clock, DeleteOptions, EventRecorder, EventType, PatchKind, Preconditions, resources,
};
use kontiki_object::{Status, Value, time};
use serde_json::json;
use tokio::sync::mpsc;

/// How writing an assignment went, by the pod's key.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The API server took it.
    Bound(String),
    /// It did not; the pod is to be tried again.
    Failed(String),
    /// The pod is no more.
    Gone(String),
}

/// See the module.
pub(super) struct Carrier {
    pub client: Client,
    pub clock: Clock,
    pub recorder: EventRecorder,
    pub outcomes: mpsc::Sender<Outcome>,
}

impl Carrier {
    /// Carries one decision out and reports how that went.
    pub(super) async fn carry_out(&self, decision: Decision) {
        match &decision.node {
            Some(node) => {
                let outcome = self.bind(&decision.pod, node).await;
                // The term has ended if nobody listens.
                let _ = self.outcomes.send(outcome).await;
            }
            None => self.refuse(&decision).await,
        }
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Outcome {
        let name = pod.object.name();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        });
        let pods = self.client.namespaced(&resources::PODS, &pod.namespace);
        match pods.create_sub(name, "binding", binding).await {
            Ok(_) => {
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.tell(pod, EventType::Normal, "Scheduled", "Binding", message);
                Outcome::Bound(pod.key.clone())
            }
            Err(status) if status.is_not_found() => Outcome::Gone(pod.key.clone()),
            Err(status) => {
                tracing::warn!(pod = pod.key, node, %status, "could not write an assignment");
                let message = format!("binding rejected: {status}");
                self.show_condition(pod, "SchedulerError", &message, None)
                    .await;
                self.tell(
                    pod,
                    EventType::Warning,
                    "FailedScheduling",
                    "Scheduling",
                    message,
                );
                Outcome::Failed(pod.key.clone())
            }
        }
    }

    async fn refuse(&self, decision: &Decision) {
        let pod = &decision.pod;
        for victim in &decision.victims {
            self.evict(pod, victim).await;
        }
        let message = decision
            .refusal
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let nominated = decision.nominated.as_deref();
        self.show_condition(pod, "Unschedulable", &message, nominated)
            .await;
        self.tell(
            pod,
            EventType::Warning,
            "FailedScheduling",
            "Scheduling",
            message,
        );
    }

    fn tell(&self, pod: &Pod, kind: EventType, reason: &str, action: &str, message: String) {
        self.recorder.record(Occurrence {
            regarding: reference(&pod.object),
            related: None,
            kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            message,
        });
    }

    async fn evict(&self, pod: &Pod, victim: &Pod) {
        if victim.object.is_terminating() {
            return;
        }
        let pods = self.client.namespaced(&resources::PODS, &victim.namespace);
        let name = victim.object.name();
        let message = format!(
            "{}: preempting to accommodate a higher priority pod",
            pod.scheduler_name()
        );
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": message, "lastTransitionTime": time::format(self.clock.now()),
            "observedGeneration": victim.object.generation(),
        });
        let patch = json!({"status": {"conditions": [condition]}});
        let told = pods.patch_status(name, PatchKind::StrategicMerge, patch);
        if let Err(status) = told.await {
            tracing::debug!(pod = victim.key, %status, "could not tell a pod that it is evicted");
        }
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: Some(victim.uid.clone()),
                resource_version: None,
            },
            ..DeleteOptions::default()
        };
        match pods.delete(name, options).await {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {}", pod.uid, victim.node);
                self.tell(
                    victim,
                    EventType::Normal,
                    "Preempted",
                    "Preempting",
                    message,
                );
            }
            Err(status) if status.is_not_found() => {}
            Err(status) => {
                tracing::warn!(pod = victim.key, %status, "could not evict a pod");
            }
        }
    }

    /// Writes `PodScheduled=False`, unless the pod says so already.
    async fn show_condition(
        &self,
        pod: &Pod,
        reason: &str,
        message: &str,
        nominated: Option<&str>,
    ) {
        if says(pod, reason, message) && nominated.is_none() {
            return;
        }
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": time::format(self.clock.now()),
            "observedGeneration": pod.object.generation(),
        });
        let mut patch = json!({"status": {"conditions": [condition]}});
        if let Some(node) = nominated {
            patch["status"]["nominatedNodeName"] = json!(node);
        }
        let pods = self.client.namespaced(&resources::PODS, &pod.namespace);
        let written: Result<_, Status> = pods
            .patch_status(pod.object.name(), PatchKind::StrategicMerge, patch)
            .await;
        if let Err(status) = written
            && !status.is_not_found()
        {
            tracing::warn!(pod = pod.key, %status, "could not show why a pod waits");
        }
    }
}

fn says(pod: &Pod, reason: &str, message: &str) -> bool {
    let conditions = pod.object.get(&["status", "conditions"]);
    conditions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|condition| {
            condition["type"] == "PodScheduled"
                && condition["status"] == "False"
                && condition["reason"] == reason
                && condition["message"] == message
        })
}

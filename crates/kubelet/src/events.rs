//! Events about pods and their containers.

use crate::spec::PodExt;
use k8s_openapi::api::core::v1::Pod;
use kontiki_client::events::Occurrence;
use kontiki_client::{EventRecorder, EventType};
use serde_json::{Value, json};

/// Records events; cheap to clone.
#[derive(Clone)]
pub struct PodEvents {
    recorder: EventRecorder,
}

impl PodEvents {
    /// Records through `recorder`.
    #[must_use]
    pub fn new(recorder: EventRecorder) -> Self {
        Self { recorder }
    }

    /// About a pod.
    pub fn pod(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.record(reference(pod), kind, reason, message.into());
    }

    /// About one of its containers.
    pub fn container(
        &self,
        pod: &Pod,
        container: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let is_init = pod
            .init_containers()
            .iter()
            .any(|init| init.name == container);
        let list = if is_init {
            "initContainers"
        } else {
            "containers"
        };
        let mut regarding = reference(pod);
        regarding["fieldPath"] = json!(format!("spec.{list}{{{container}}}"));
        self.record(regarding, kind, reason, message.into());
    }

    /// About the node.
    pub fn node(&self, name: &str, kind: EventType, reason: &str, message: impl Into<String>) {
        // Upstream's kubelet names its node as its UID, and tools look for that.
        self.record(
            json!({"kind": "Node", "name": name, "uid": name}),
            kind,
            reason,
            message.into(),
        );
    }

    fn record(&self, regarding: Value, kind: EventType, reason: &str, message: String) {
        self.recorder.record(Occurrence {
            regarding,
            related: None,
            kind,
            reason: reason.to_owned(),
            action: String::new(),
            message,
        });
    }
}

fn reference(pod: &Pod) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid(),
        "resourceVersion": pod.metadata.resource_version.clone().unwrap_or_default(),
    })
}

//! What makes a StatefulSet's pod that very pod: its name, host name and volumes.

use crate::fields::{list, text};
use crate::pods;
use crate::revisions::REVISION_LABEL;
use kontiki_object::{Object, Value};
use serde_json::json;

/// The number at the end of a pod's name, if the rest is the set's.
pub(super) fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    let (parent, ordinal) = pod.name().rsplit_once('-')?;
    (parent == set.name()).then(|| ordinal.parse().ok())?
}

pub(super) fn pod_name(set: &Object, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

fn claim_name(template: &Value, set: &Object, ordinal: i64) -> String {
    format!(
        "{}-{}",
        text(&template["metadata"], "name"),
        pod_name(set, ordinal)
    )
}

/// The claims of one pod.
pub(super) fn claims(set: &Object, ordinal: i64) -> Vec<Value> {
    let templates = list(set, &["spec", "volumeClaimTemplates"]).iter();
    let claims = templates.map(|template| {
        let mut claim = template.clone();
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["metadata"]["name"] = json!(claim_name(template, set, ordinal));
        claim["metadata"]["namespace"] = json!(set.namespace());
        let labels = set
            .get(&["spec", "selector", "matchLabels"])
            .and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            claim["metadata"]["labels"][key] = value.clone();
        }
        if let Some(fields) = claim.as_object_mut() {
            fields.remove("status");
        }
        claim
    });
    claims.collect()
}

/// The pod of one ordinal, of the template of a revision.
pub(super) fn pod(set: &Object, ordinal: i64, revision: &Object) -> Value {
    let mut template = revision
        .get(&["data", "spec", "template"])
        .cloned()
        .unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    let mut pod = pods::from_template(&template, set);
    let name = pod_name(set, ordinal);
    let metadata = &mut pod["metadata"];
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("generateName");
    }
    metadata["name"] = json!(name);
    metadata["labels"]["statefulset.kubernetes.io/pod-name"] = json!(name);
    metadata["labels"]["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    metadata["labels"][REVISION_LABEL] = json!(revision.name());
    let spec = &mut pod["spec"];
    spec["hostname"] = json!(name);
    if let Some(service) = set.str_at(&["spec", "serviceName"]) {
        spec["subdomain"] = json!(service);
    }
    let templates = list(set, &["spec", "volumeClaimTemplates"]);
    if !templates.is_empty() {
        let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
        for template in templates {
            let volume = text(&template["metadata"], "name");
            volumes.retain(|known| text(known, "name") != volume);
            let claim = claim_name(template, set, ordinal);
            volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
        }
        spec["volumes"] = Value::Array(volumes);
    }
    pod
}

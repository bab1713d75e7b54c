//! The objects that a pod or a volume names.

use kontiki_object::{Object, Value};
use std::collections::BTreeSet;

/// The objects of its own namespace that a pod needs on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the resources")]
pub struct PodReferences {
    pub secrets: BTreeSet<String>,
    pub config_maps: BTreeSet<String>,
    pub service_accounts: BTreeSet<String>,
    pub persistent_volume_claims: BTreeSet<String>,
    pub resource_claims: BTreeSet<String>,
}

/// What a persistent volume needs on the node that mounts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeReferences {
    /// Namespace and name of the claim that it is bound to.
    pub claim: Option<(String, String)>,
    /// Namespaces and names of secrets.
    pub secrets: BTreeSet<(String, String)>,
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn add(set: &mut BTreeSet<String>, name: &Value) {
    if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
        set.insert(name.to_owned());
    }
}

/// What the annotation of a mirror pod is called.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// What a pod needs on its node. Mirror pods need nothing: they come from it.
#[must_use]
pub fn references(pod: &Object) -> PodReferences {
    match pod.annotation(MIRROR_POD) {
        Some(_) => PodReferences::default(),
        None => all_references(pod),
    }
}

/// What a pod names, mirror pod or not.
#[must_use]
pub fn all_references(pod: &Object) -> PodReferences {
    let mut found = PodReferences::default();
    let Some(spec) = pod.get(&["spec"]) else {
        return found;
    };
    add(&mut found.service_accounts, &spec["serviceAccountName"]);
    for secret in items(spec, "imagePullSecrets") {
        add(&mut found.secrets, &secret["name"]);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, field) {
            of_container(&mut found, container);
        }
    }
    for volume in items(spec, "volumes") {
        of_volume(&mut found, pod.name(), volume);
    }
    for claim in items(spec, "resourceClaims") {
        add(&mut found.resource_claims, &claim["resourceClaimName"]);
    }
    // Claims made from templates have names that only the status knows.
    for claim in pod
        .get(&["status"])
        .into_iter()
        .flat_map(|status| items(status, "resourceClaimStatuses"))
    {
        add(&mut found.resource_claims, &claim["resourceClaimName"]);
    }
    let extended = pod.get(&["status", "extendedResourceClaimStatus", "resourceClaimName"]);
    if let Some(name) = extended {
        add(&mut found.resource_claims, name);
    }
    found
}

fn of_container(found: &mut PodReferences, container: &Value) {
    for source in items(container, "envFrom") {
        add(&mut found.config_maps, &source["configMapRef"]["name"]);
        add(&mut found.secrets, &source["secretRef"]["name"]);
    }
    for variable in items(container, "env") {
        let from = &variable["valueFrom"];
        add(&mut found.config_maps, &from["configMapKeyRef"]["name"]);
        add(&mut found.secrets, &from["secretKeyRef"]["name"]);
    }
}

/// Volume kinds with the field that names their secret.
const SECRET_FIELDS: [(&str, &str); 10] = [
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
    ("secret", "secretName"),
    ("csi", "nodePublishSecretRef"),
];

fn of_volume(found: &mut PodReferences, pod: &str, volume: &Value) {
    for (kind, field) in SECRET_FIELDS {
        let named = &volume[kind][field];
        add(
            &mut found.secrets,
            if named.is_object() {
                &named["name"]
            } else {
                named
            },
        );
    }
    add(&mut found.config_maps, &volume["configMap"]["name"]);
    let claim = &volume["persistentVolumeClaim"]["claimName"];
    add(&mut found.persistent_volume_claims, claim);
    if volume["ephemeral"].is_object()
        && let Some(name) = volume["name"].as_str()
    {
        found
            .persistent_volume_claims
            .insert(format!("{pod}-{name}"));
    }
    for source in items(&volume["projected"], "sources") {
        add(&mut found.config_maps, &source["configMap"]["name"]);
        add(&mut found.secrets, &source["secret"]["name"]);
    }
}

/// What a persistent volume needs on the node that mounts it.
#[must_use]
pub fn volume_references(volume: &Object) -> VolumeReferences {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = VolumeReferences::default();
    let Some(spec) = volume.get(&["spec"]) else {
        return found;
    };
    let claim = &spec["claimRef"];
    let namespace = text(&claim["namespace"]);
    if claim.is_object() {
        found.claim = Some((namespace.clone(), text(&claim["name"])));
    }
    for (kind, field) in SECRET_FIELDS {
        let named = &spec[kind][field];
        let name = if named.is_object() {
            &named["name"]
        } else {
            named
        };
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else {
            continue;
        };
        let own = match kind {
            "azureFile" => text(&spec[kind]["secretNamespace"]),
            _ => text(&named["namespace"]),
        };
        let namespace = if own.is_empty() {
            namespace.clone()
        } else {
            own
        };
        found.secrets.insert((namespace, name.to_owned()));
    }
    for field in ["nodeStageSecretRef", "nodeExpandSecretRef"] {
        let named = &spec["csi"][field];
        if let Some(name) = named["name"].as_str().filter(|name| !name.is_empty()) {
            found
                .secrets
                .insert((text(&named["namespace"]), name.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_needs_all_that_it_names() {
        let pod = Object::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "pull"}, {}],
                "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}],
                "containers": [{
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                            {"name": "B", "value": "plain"}],
                    "envFrom": [{"configMapRef": {"name": "cm2"}}]}],
                "volumes": [
                    {"name": "s", "secret": {"secretName": "vol"}},
                    {"name": "c", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
                    {"name": "p", "persistentVolumeClaim": {"claimName": "pvc"}},
                    {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
                    {"name": "t", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "proj"}}]}}],
            }
        }))
        .expect("a map");
        let found = references(&pod);
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(list(&found.secrets), ["csi", "init", "proj", "pull", "vol"]);
        assert_eq!(list(&found.config_maps), ["cm", "cm2", "kube-root-ca.crt"]);
        assert_eq!(list(&found.persistent_volume_claims), ["p-e", "pvc"]);
        assert_eq!(list(&found.service_accounts), ["sa"]);
    }
}

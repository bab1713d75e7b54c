//! What a node does with pods.

use super::{Refusal, Verdict, field, find, node_of, refuse, text};
use crate::admission::{Attributes, Operation};
use kontiki_auth::node::{MIRROR_POD, all_references};
use kontiki_kinds::Tree;
use kontiki_object::{Object, Value};

/// Mirror pods are created, own pods are deleted.
pub(super) async fn whole(node: &str, attributes: &Attributes<'_>) -> Verdict {
    match attributes.operation {
        Operation::Create => create(node, attributes).await,
        Operation::Delete => {
            let spec = field(attributes.old, "spec").unwrap_or(&Value::Null);
            if text(spec, "nodeName") == node {
                return Ok(());
            }
            refuse(format!(
                "node {node:?} can only delete pods with spec.nodeName set to itself"
            ))
        }
        other => refuse(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            other.word()
        )),
    }
}

async fn create(node: &str, attributes: &Attributes<'_>) -> Verdict {
    let pod = Object::new(attributes.object.as_deref().cloned().unwrap_or_default());
    if pod.annotation(MIRROR_POD).is_none() {
        return refuse(format!(
            "pod does not have {MIRROR_POD:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    let own = pod.str_at(&["spec", "nodeName"]).unwrap_or_default();
    if own != node {
        return refuse(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    owner(node, attributes, &pod).await?;
    match api_reference(&pod) {
        Ok(None) => Ok(()),
        Ok(Some(resource)) => refuse(format!(
            "node {node:?} can not create pods that reference {resource}"
        )),
        Err(why) => refuse(format!(
            "error checking mirror pod for API references: {why}"
        )),
    }
}

/// The one owner is the node itself.
async fn owner(node: &str, attributes: &Attributes<'_>, pod: &Object) -> Verdict {
    let only = |what: &str| {
        refuse(format!(
            "node {node:?} can only create pods with {what} set to itself"
        ))
    };
    let owners = pod.owner_references();
    let owner = match &owners[..] {
        [] => return only("an owner reference"),
        [owner] => owner,
        _ => return only("a single owner reference"),
    };
    if owner.api_version != "v1" || owner.kind != "Node" || owner.name != node {
        return only("an owner reference");
    }
    if owner.controller != Some(true) {
        return only("a controller owner reference");
    }
    if owner.block_owner_deletion == Some(true) {
        return refuse(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let found = find(attributes, "nodes", "", node, |found| {
        found.uid() == owner.uid
    });
    let found = found.await.map_err(Refusal::Status)?;
    if owner.uid != found.uid() {
        return refuse(format!(
            "node {node} UID mismatch: expected {} got {}",
            owner.uid,
            found.uid()
        ));
    }
    Ok(())
}

/// Kinds of volumes that need nothing from the API.
const FREE_VOLUMES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Kinds of volumes that do, with what they need.
const API_VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    (
        "ephemeral",
        "persistentvolumeclaims (via ephemeral volumes)",
    ),
    ("azureFile", "secrets (via azureFile volumes)"),
];

/// The same for the sources of projected volumes.
const API_SOURCES: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    (
        "serviceAccountToken",
        "serviceaccounts (via projected volumes)",
    ),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// An object of the API that a pod needs, as its resource.
fn api_reference(pod: &Object) -> Result<Option<&'static str>, String> {
    let named = all_references(pod);
    for (set, resource) in [
        (&named.service_accounts, "serviceaccounts"),
        (&named.secrets, "secrets"),
        (&named.config_maps, "configmaps"),
    ] {
        if !set.is_empty() {
            return Ok(Some(resource));
        }
    }
    let list = |name: &str| pod.get(&["spec", name]).and_then(Value::as_array);
    if list("resourceClaims").is_some_and(|claims| !claims.is_empty()) {
        return Ok(Some("resourceclaims"));
    }
    for volume in list("volumes").into_iter().flatten() {
        if let Some(needed) = volume_reference(volume)? {
            return Ok(Some(needed));
        }
    }
    Ok(None)
}

fn volume_reference(volume: &Value) -> Result<Option<&'static str>, String> {
    let has = |of: &Value, name: &str| !of[name].is_null();
    let name = text(volume, "name");
    if FREE_VOLUMES.iter().any(|kind| has(volume, kind)) {
        return Ok(None);
    }
    if let Some((_, needed)) = API_VOLUMES.iter().find(|(kind, _)| has(volume, kind)) {
        return Ok(Some(needed));
    }
    if !has(volume, "projected") {
        return Err(format!("unknown volume type for volume  {name:?}"));
    }
    let sources = volume["projected"]["sources"].as_array();
    for source in sources.into_iter().flatten() {
        if let Some((_, needed)) = API_SOURCES.iter().find(|(kind, _)| has(source, kind)) {
            return Ok(Some(needed));
        }
        if !has(source, "downwardAPI") {
            return Err(format!("unknown source for projected volume {name:?}"));
        }
    }
    Ok(None)
}

/// Statuses of own pods, without what others decide by.
pub(super) fn status(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.operation != Operation::Update {
        return refuse(format!(
            "unexpected operation {:?}",
            attributes.operation.word()
        ));
    }
    let empty = Tree::new();
    let (old, new) = (
        attributes.old.unwrap_or(&empty),
        attributes.object.as_deref().unwrap_or(&empty),
    );
    let at = |pod: &Tree, path: [&str; 2]| {
        let value = pod.get(path[0]).and_then(|part| part.get(path[1]));
        value.cloned().unwrap_or_default()
    };
    if at(old, ["spec", "nodeName"]) != node {
        return refuse(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let labels = |pod: &Tree| {
        let labels = at(pod, ["metadata", "labels"]);
        labels.as_object().cloned().unwrap_or_default()
    };
    if labels(old) != labels(new) {
        return refuse(format!(
            "node {node:?} cannot update labels through pod status"
        ));
    }
    let claims = |pod: &Tree| -> Vec<(Value, Value)> {
        let statuses = at(pod, ["status", "resourceClaimStatuses"]);
        let all = statuses.as_array().cloned().unwrap_or_default().into_iter();
        all.map(|claim| (claim["name"].clone(), claim["resourceClaimName"].clone()))
            .collect()
    };
    if claims(old) != claims(new) {
        return refuse(format!(
            "node {node:?} cannot update resource claim statues"
        ));
    }
    let extended = |pod: &Tree| at(pod, ["status", "extendedResourceClaimStatus"]);
    if extended(old) != extended(new) {
        return refuse(format!(
            "node {node:?} cannot update extended resource claim status"
        ));
    }
    Ok(())
}

/// Own pods are evicted.
pub(super) async fn eviction(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.operation != Operation::Create {
        return refuse(format!(
            "unexpected operation {}",
            attributes.operation.word()
        ));
    }
    let metadata = field(attributes.object.as_deref(), "metadata");
    let own = metadata
        .map(|metadata| text(metadata, "name"))
        .unwrap_or_default();
    let name = match &*attributes.target.name {
        "" => own,
        name => name,
    };
    if name.is_empty() {
        return refuse("could not determine pod from request data");
    }
    let namespace = &attributes.target.namespace;
    let pod = find(attributes, "pods", namespace, name, |pod| {
        node_of(pod) == node
    })
    .await?;
    if node_of(&pod) != node {
        return refuse(format!(
            "node {node} can only evict pods with spec.nodeName set to itself"
        ));
    }
    Ok(())
}

//! Objects that bear the node's own name, or name it.

use super::{Verdict, field, forbidden_labels, refuse, text};
use crate::admission::{Attributes, Operation};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_kinds::Tree;
use kontiki_object::Value;
use kontiki_pki::CertificateRequest;
use std::collections::BTreeSet;

const LEASE_NAMESPACE: &str = "kube-node-lease";
const KUBELET_SIGNERS: [&str; 2] = [
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/kube-apiserver-client-kubelet",
];

fn part<'a>(tree: Option<&'a Tree>, path: [&str; 2]) -> Option<&'a Value> {
    let value = tree?.get(path[0])?.get(path[1])?;
    (!value.is_null()).then_some(value)
}

/// Absent and empty say the same.
fn list(tree: Option<&Tree>, path: [&str; 2]) -> Vec<Value> {
    let list = part(tree, path).and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// The name that an object has, or will have.
fn name_of(attributes: &Attributes<'_>) -> String {
    if attributes.operation != Operation::Create {
        return attributes.target.name.clone();
    }
    let name = part(attributes.object.as_deref(), ["metadata", "name"]);
    name.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Its own Node, but not its taints, owners and foreign labels.
pub(super) fn node(node: &str, attributes: &Attributes<'_>) -> Verdict {
    let name = match &*attributes.target.name {
        "" => name_of(attributes),
        name => name.to_owned(),
    };
    if name != node {
        return refuse(format!(
            "node {node:?} is not allowed to modify node {name:?}"
        ));
    }
    let (new, old) = (attributes.object.as_deref(), attributes.old);
    let source = |tree| part(tree, ["spec", "configSource"]);
    match attributes.operation {
        Operation::Create => {
            if source(new).is_some() {
                return refuse(format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let changed = changed_labels(new, None);
            let forbidden = forbidden_labels(changed.iter().map(String::as_str));
            if !forbidden.is_empty() {
                return refuse(format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    forbidden.join(", ")
                ));
            }
        }
        Operation::Update => {
            if source(new).is_some() && source(new) != source(old) {
                return refuse(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            let taints = |tree| list(tree, ["spec", "taints"]);
            if taints(new) != taints(old) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            let owners = |tree| list(tree, ["metadata", "ownerReferences"]);
            if owners(new) != owners(old) {
                return refuse(format!(
                    "node {node:?} is not allowed to modify ownerReferences"
                ));
            }
            let changed = changed_labels(new, old);
            let forbidden = forbidden_labels(changed.iter().map(String::as_str));
            if !forbidden.is_empty() {
                return refuse(format!(
                    "is not allowed to modify labels: {}",
                    forbidden.join(", ")
                ));
            }
        }
        Operation::Delete | Operation::Connect => {}
    }
    Ok(())
}

fn changed_labels(new: Option<&Tree>, old: Option<&Tree>) -> BTreeSet<String> {
    let labels = |tree| {
        let labels = part(tree, ["metadata", "labels"]).and_then(Value::as_object);
        labels.cloned().unwrap_or_default()
    };
    let (new, old) = (labels(new), labels(old));
    let names = new.keys().chain(old.keys());
    names
        .filter(|name| new.get(*name) != old.get(*name))
        .cloned()
        .collect()
}

/// The parts of a claim's status that a node reports when it has resized a volume.
const RESIZE_FIELDS: [&str; 4] = [
    "allocatedResourceStatuses",
    "allocatedResources",
    "capacity",
    "conditions",
];

/// A claim's status, as far as it tells of a volume's size.
pub(super) fn claim(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.operation != Operation::Update {
        return refuse(format!(
            "unexpected operation {:?}",
            attributes.operation.word()
        ));
    }
    let rest = |tree: Option<&Tree>| {
        let mut tree = tree.cloned().unwrap_or_default();
        if let Some(status) = tree.get_mut("status").and_then(Value::as_object_mut) {
            status.retain(|name, _| !RESIZE_FIELDS.contains(&&**name));
        }
        if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
        tree.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        tree
    };
    let (new, old) = (rest(attributes.object.as_deref()), rest(attributes.old));
    if new == old {
        return Ok(());
    }
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let changed: Vec<&str> = names
        .into_iter()
        .filter(|name| new.get(*name) != old.get(*name))
        .map(String::as_str)
        .collect();
    refuse(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions: {}",
        changed.join(", ")
    ))
}

/// Its own lease.
pub(super) fn lease(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.target.namespace != LEASE_NAMESPACE {
        return refuse(format!(
            "can only access leases in the {LEASE_NAMESPACE:?} system namespace"
        ));
    }
    if name_of(attributes) != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

/// Its own CSINode.
pub(super) fn csi_node(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if name_of(attributes) != node {
        return refuse("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

/// Slices of its own devices; the authorizer has judged updates.
pub(super) fn slice(node: &str, attributes: &Attributes<'_>) -> Verdict {
    let (word, slice) = match attributes.operation {
        Operation::Create => ("create", attributes.object.as_deref()),
        Operation::Delete => ("delete", attributes.old),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if part(slice, ["spec", "nodeName"]).and_then(Value::as_str) != Some(node) {
        return refuse(format!(
            "can only {word} ResourceSlice with the same NodeName as the requesting node"
        ));
    }
    Ok(())
}

/// Certificates in its own name.
pub(super) fn certificate(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let spec = field(attributes.object.as_deref(), "spec").unwrap_or(&Value::Null);
    if !KUBELET_SIGNERS.contains(&text(spec, "signerName")) {
        return Ok(());
    }
    let pem = STANDARD.decode(text(spec, "request")).ok();
    let pem = pem
        .and_then(|pem| String::from_utf8(pem).ok())
        .unwrap_or_default();
    match CertificateRequest::from_pem(&pem) {
        Err(error) => refuse(format!("unable to parse csr: {error}")),
        Ok(request) if request.common_name != format!("system:node:{node}") => refuse(format!(
            "can only create a node CSR with CN=system:node:{node}"
        )),
        Ok(_) => Ok(()),
    }
}

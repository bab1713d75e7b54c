//! `NodeRestriction`: a node writes what is about itself and its own pods, and
//! nothing else.
//!
//! The node authorizer judges requests by their names; what an object says has
//! to be looked at here. Whoever is no node passes.

mod audience;
mod own_objects;
mod pod_certificates;
mod pods;

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_auth::user::{NODE_PREFIX, NODES};
use kontiki_kinds::Tree;
use kontiki_object::{SharedObject, Status, Value};
use std::sync::Arc;

/// Further labels of the kubernetes.io and k8s.io domains that nodes may set on
/// themselves.
const OWN_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// A check's answer: a reason to refuse, or a status of its own.
enum Refusal {
    /// 403 with this reason.
    Forbidden(String),
    /// Another answer, for instance that a pod does not exist.
    Status(Status),
}

type Verdict = Result<(), Refusal>;

fn refuse(why: impl Into<String>) -> Verdict {
    Err(Refusal::Forbidden(why.into()))
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

pub(super) struct NodeRestriction {
    pub(super) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let user = &attributes.context.user;
        let Some(node) = user.name.strip_prefix(NODE_PREFIX) else {
            return Ok(());
        };
        if attributes.operation == Operation::Connect || !user.is_in(NODES) {
            return Ok(());
        }
        if node.is_empty() {
            let why = format!("could not determine node from user {:?}", user.name);
            return Err(attributes.forbidden(&why));
        }
        match self.check(node, attributes).await {
            Ok(()) => Ok(()),
            Err(Refusal::Forbidden(why)) => Err(attributes.forbidden(&why)),
            Err(Refusal::Status(status)) => Err(status),
        }
    }
}

impl NodeRestriction {
    async fn check(&self, node: &str, attributes: &Attributes<'_>) -> Verdict {
        let kind = &attributes.target.kind;
        let subresource = &*attributes.target.subresource;
        match (&*kind.group, &*kind.plural, subresource) {
            ("", "pods", "") => pods::whole(node, attributes).await,
            ("", "pods", "status") => pods::status(node, attributes),
            ("", "pods", "eviction") => pods::eviction(node, attributes).await,
            ("", "pods", other) => refuse(format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )),
            ("", "nodes", _) => own_objects::node(node, attributes),
            ("", "persistentvolumeclaims", "status") => own_objects::claim(node, attributes),
            ("", "persistentvolumeclaims", _) => refuse("may only update PVC status"),
            ("", "serviceaccounts", "token") => self.token(node, attributes).await,
            ("certificates.k8s.io", "podcertificaterequests", _) => {
                pod_certificates::check(node, attributes).await
            }
            ("coordination.k8s.io", "leases", _) => own_objects::lease(node, attributes),
            ("storage.k8s.io", "csinodes", _) => own_objects::csi_node(node, attributes),
            ("resource.k8s.io", "resourceslices", _) => own_objects::slice(node, attributes),
            ("certificates.k8s.io", "certificatesigningrequests", _) => {
                own_objects::certificate(node, attributes)
            }
            _ => Ok(()),
        }
    }

    /// A token is asked for a pod of the node, and for an audience that the pod
    /// wants.
    async fn token(&self, node: &str, attributes: &Attributes<'_>) -> Verdict {
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        let empty = Value::Null;
        let spec = field(attributes.object.as_deref(), "spec").unwrap_or(&empty);
        let bound = &spec["boundObjectRef"];
        let name = text(bound, "name");
        if text(bound, "apiVersion") != "v1" || text(bound, "kind") != "Pod" || name.is_empty() {
            return refuse("node requested token not bound to a pod");
        }
        let uid = text(bound, "uid");
        if uid.is_empty() {
            return refuse("node requested token with a pod binding without a uid");
        }
        let namespace = &attributes.target.namespace;
        let as_asked = |pod: &SharedObject| pod.uid() == uid && node_of(pod) == node;
        let pod = find(attributes, "pods", namespace, name, as_asked).await?;
        if uid != pod.uid() {
            return refuse(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        if node_of(&pod) != node {
            return refuse("node requested token bound to a pod scheduled on a different node");
        }
        audience::check(&*self.authorizer, attributes, spec, &pod).await
    }
}

/// A core object as this server's cache has it; if it is not as `wanted` there,
/// as it is now: the cache may lag behind what the node has been told already.
async fn find(
    attributes: &Attributes<'_>,
    resource: &str,
    namespace: &str,
    name: &str,
    wanted: impl Fn(&SharedObject) -> bool,
) -> Result<SharedObject, Status> {
    let look = || attributes.lookup("", "v1", resource, namespace, name);
    if let Some(found) = look().filter(wanted) {
        return Ok(found);
    }
    attributes.registry.fresh().await?;
    // Upstream looks through its informers, which speak of one object.
    let one = resource.strip_suffix('s').unwrap_or(resource);
    look().ok_or_else(|| Status::not_found("", one, name))
}

fn node_of(pod: &SharedObject) -> &str {
    pod.str_at(&["spec", "nodeName"]).unwrap_or_default()
}

fn field<'a>(object: Option<&'a Tree>, name: &str) -> Option<&'a Value> {
    object?.get(name)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The labels among these that a node may neither set, change nor remove.
fn forbidden_labels<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let within = |domain: &str, of: &str| {
        domain == of
            || domain
                .strip_suffix(of)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let is_forbidden = |label: &&str| {
        let domain = label.split_once('/').map_or("", |(domain, _)| domain);
        let is_kubernetes = within(domain, "kubernetes.io") || within(domain, "k8s.io");
        let is_own =
            OWN_LABELS.contains(label) || OWN_LABEL_DOMAINS.iter().any(|own| within(domain, own));
        within(domain, RESTRICTED_DOMAIN) || is_kubernetes && !is_own
    };
    let mut forbidden: Vec<&str> = labels.filter(is_forbidden).collect();
    forbidden.sort_unstable();
    forbidden
}

#[cfg(test)]
mod tests;

//! Decides about requests of nodes.
//!
//! What depends on the node's pods is decided by the [`Graph`]; everything else
//! by the rules of the role `system:node`, which no binding grants any more.

use super::graph::{Graph, Kind};
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, Decision, RulesStatus};
use crate::policy::bootstrap_policy;
use crate::rbac::Rule;
use async_trait::async_trait;
use std::sync::Arc;

/// Decides about requests of nodes; has no opinion on anybody else's.
pub struct NodeAuthorizer {
    graph: Arc<Graph>,
    rules: Vec<Rule>,
}

const NO_RELATION: &str = "no relationship found between node '{node}' and this object";

fn no(reason: impl Into<String>) -> Decision {
    Decision::no_opinion(reason.into())
}

fn unrelated(node: &str) -> Decision {
    no(NO_RELATION.replace("{node}", node))
}

impl NodeAuthorizer {
    /// Decides by this graph.
    #[must_use]
    pub fn new(graph: Arc<Graph>) -> Self {
        let rules = bootstrap_policy()
            .iter()
            .filter(|one| one.object.kind() == "ClusterRole" && one.object.name() == "system:node")
            .flat_map(|one| Rule::list(one.object.get(&["rules"])))
            .collect();
        Self { graph, rules }
    }

    fn decide(&self, node: &str, asked: &Attributes) -> Decision {
        if !asked.is_resource {
            return self.by_rules(asked);
        }
        match (&*asked.group, &*asked.resource) {
            ("", "secrets") => self.by_need(node, Kind::Secret, asked),
            ("", "configmaps") => self.by_need(node, Kind::ConfigMap, asked),
            ("resource.k8s.io", "resourceclaims") => self.by_need(node, Kind::ResourceClaim, asked),
            ("", "persistentvolumeclaims") if asked.subresource != "status" => {
                self.claim(node, asked)
            }
            ("", "persistentvolumeclaims") => self.claim_status(node, asked),
            ("", "persistentvolumes") => self.volume(node, asked),
            ("storage.k8s.io", "volumeattachments") => self.attachment(node, asked),
            ("", "serviceaccounts") => self.token(node, asked),
            ("coordination.k8s.io", "leases") => self.lease(node, asked),
            ("storage.k8s.io", "csinodes") => {
                self.own(node, asked, &["get", "create", "update", "patch", "delete"])
            }
            ("resource.k8s.io", "resourceslices") => self.slices(node, asked),
            ("", "nodes") => self.node(node, asked),
            ("", "pods") => self.pod(node, asked),
            _ => self.by_rules(asked),
        }
    }

    fn by_rules(&self, asked: &Attributes) -> Decision {
        if self.rules.iter().any(|rule| rule.allows(asked)) {
            Decision::allow("")
        } else {
            no("")
        }
    }

    /// Reads of one object that a pod of the node names. A list or watch must
    /// select that one object by its name.
    fn by_need(&self, node: &str, kind: Kind, asked: &Attributes) -> Decision {
        if !asked.is_read_only() {
            return no("can only read resources of this type");
        }
        if !asked.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if asked.name.is_empty() {
            return no("No Object name found");
        }
        if asked.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        if self.graph.needs(node, kind, &asked.namespace, &asked.name) {
            return Decision::allow("");
        }
        unrelated(node)
    }

    fn claim(&self, node: &str, asked: &Attributes) -> Decision {
        if asked.verb != "get" || !asked.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        self.by_need(node, Kind::PersistentVolumeClaim, asked)
    }

    fn claim_status(&self, node: &str, asked: &Attributes) -> Decision {
        if !matches!(&*asked.verb, "get" | "update" | "patch") {
            return no("can only get/update/patch this type");
        }
        let kind = Kind::PersistentVolumeClaim;
        if self.graph.needs(node, kind, &asked.namespace, &asked.name) {
            return Decision::allow("");
        }
        unrelated(node)
    }

    fn volume(&self, node: &str, asked: &Attributes) -> Decision {
        if asked.verb != "get" || !asked.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        if self.graph.needs_volume(node, &asked.name) {
            return Decision::allow("");
        }
        unrelated(node)
    }

    fn attachment(&self, node: &str, asked: &Attributes) -> Decision {
        if asked.verb != "get" || !asked.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        if self.graph.is_attached(node, &asked.name) {
            return Decision::allow("");
        }
        unrelated(node)
    }

    fn token(&self, node: &str, asked: &Attributes) -> Decision {
        match (&*asked.verb, &*asked.subresource) {
            ("create", "token") => {
                let kind = Kind::ServiceAccount;
                if self.graph.needs(node, kind, &asked.namespace, &asked.name) {
                    return Decision::allow("");
                }
                unrelated(node)
            }
            ("get", "") => self.by_need(node, Kind::ServiceAccount, asked),
            _ => no("can only get individual resources of this type or create a token"),
        }
    }

    fn lease(&self, node: &str, asked: &Attributes) -> Decision {
        if !matches!(
            &*asked.verb,
            "get" | "create" | "update" | "patch" | "delete"
        ) {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if asked.namespace != "kube-node-lease" {
            return no("can only access leases in the \"kube-node-lease\" system namespace");
        }
        // A create names no object; admission checks the one that is created.
        if asked.verb != "create" && asked.name != node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Decision::allow("")
    }

    /// An object that bears the node's own name.
    fn own(&self, node: &str, asked: &Attributes, verbs: &[&str]) -> Decision {
        if !verbs.contains(&&*asked.verb) || !asked.subresource.is_empty() {
            return no(format!(
                "can only {} an object of this type",
                verbs.join(", ")
            ));
        }
        if asked.verb != "create" && asked.name != node {
            return no("can only access an object with the same name as the requesting node");
        }
        Decision::allow("")
    }

    fn slices(&self, node: &str, asked: &Attributes) -> Decision {
        let is_own = || {
            let selector = asked.field_selector.as_ref();
            selector.and_then(|s| s.requires("spec.nodeName")) == Some(node)
        };
        match &*asked.verb {
            // Admission checks the node that these name.
            "create" | "get" | "update" | "patch" | "delete" => self.by_rules(asked),
            "list" | "watch" | "deletecollection" if is_own() => Decision::allow(""),
            _ => no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
        }
    }

    fn node(&self, node: &str, asked: &Attributes) -> Decision {
        match (&*asked.verb, &*asked.subresource) {
            ("create", "") => Decision::allow(""),
            ("get" | "list" | "watch", "") => {
                let by_field = asked.field_selector.as_ref();
                let selected = by_field.and_then(|s| s.requires("metadata.name"));
                if asked.name == node || (asked.name.is_empty() && selected == Some(node)) {
                    return Decision::allow("");
                }
                no(format!(
                    "node '{node}' cannot read '{}', only its own Node object",
                    asked.name
                ))
            }
            ("update" | "patch", "" | "status") if asked.name.is_empty() || asked.name == node => {
                Decision::allow("")
            }
            ("update" | "patch", "" | "status") => {
                no(format!("node '{node}' cannot modify '{}'", asked.name))
            }
            _ => self.by_rules(asked),
        }
    }

    fn pod(&self, node: &str, asked: &Attributes) -> Decision {
        match (&*asked.verb, &*asked.subresource) {
            ("get", "") => {
                if self.graph.has_pod(node, &asked.namespace, &asked.name) {
                    return Decision::allow("");
                }
                unrelated(node)
            }
            ("list" | "watch", "") => {
                let by_field = asked.field_selector.as_ref();
                if by_field.and_then(|s| s.requires("spec.nodeName")) == Some(node) {
                    return Decision::allow("");
                }
                if !asked.name.is_empty() && self.graph.has_pod(node, &asked.namespace, &asked.name)
                {
                    return Decision::allow("");
                }
                no("can only list/watch pods with spec.nodeName field selector")
            }
            // Mirror pods, evictions and statuses: admission looks inside them.
            _ => self.by_rules(asked),
        }
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match attributes.user.node_name() {
            Some(node) => self.decide(node, attributes),
            None => Decision::no_opinion(""),
        }
    }

    fn rules(&self, user: &UserInfo, _namespace: &str) -> RulesStatus {
        if user.node_name().is_none() {
            return RulesStatus::default();
        }
        RulesStatus {
            incomplete: true,
            evaluation_error: "node authorizer does not support user rule resolution".into(),
            ..RulesStatus::default()
        }
    }
}

#[cfg(test)]
mod tests;

//! The RBAC policy that every cluster starts with: Kubernetes v1.36's.
//!
//! The tables hold what Kubernetes publishes; names, labels and the order of
//! rules are part of the interface, because tools compare them.
//!
//! A role whose annotation `rbac.authorization.kubernetes.io/autoupdate` is not
//! `false` is repaired at every start: missing rules and subjects are added,
//! what an administrator added stays.

mod components;
mod controllers;
mod namespaced;
mod reconcile;
mod users;

pub use reconcile::{Write, reconcile};

use crate::user::SYSTEM_NAMESPACE;
use kontiki_client::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use kontiki_object::{GroupVersionResource, Object, Value};
use serde_json::json;

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";
/// The annotation that lets the server repair an object.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One row of a table: comma-separated words.
#[derive(Clone, Copy)]
struct Row {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// Verbs on resources of groups; the empty group is core.
const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> Row {
    named(verbs, groups, resources, "")
}

/// The same, on objects of certain names only.
const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> Row {
    Row {
        verbs,
        groups,
        resources,
        names,
        urls: "",
    }
}

/// Verbs on paths.
const fn urls(verbs: &'static str, urls: &'static str) -> Row {
    Row {
        verbs,
        groups: "",
        resources: "",
        names: "",
        urls,
    }
}

impl Row {
    fn to_value(self) -> Value {
        let words = |text: &str| text.split(',').map(Value::from).collect::<Vec<_>>();
        let mut tree = json!({"verbs": words(self.verbs)});
        if self.urls.is_empty() {
            tree["apiGroups"] = words(self.groups).into();
            tree["resources"] = words(self.resources).into();
        } else {
            tree["nonResourceURLs"] = words(self.urls).into();
        }
        if !self.names.is_empty() {
            tree["resourceNames"] = words(self.names).into();
        }
        tree
    }
}

type Rows = &'static [(&'static str, &'static [Row])];

/// A subject of a binding.
#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In `kube-system`.
    ServiceAccount(&'static str),
}

impl Subject {
    fn to_value(self) -> Value {
        match self {
            Self::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
            Self::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
            Self::ServiceAccount(name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": SYSTEM_NAMESPACE})
            }
        }
    }
}

/// One object of the policy.
#[derive(Clone, Debug)]
pub struct PolicyObject {
    /// Its resource.
    pub resource: GroupVersionResource,
    /// The object.
    pub object: Object,
}

fn object(
    resource: GroupVersionResource,
    kind: &str,
    metadata: Value,
    rest: Value,
) -> PolicyObject {
    let mut tree = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata});
    tree["metadata"]["annotations"] = json!({AUTO_UPDATE: "true"});
    tree["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
    if let (Value::Object(tree), Value::Object(rest)) = (&mut tree, rest) {
        tree.extend(rest);
    }
    PolicyObject {
        resource,
        object: Object::from_value(tree).expect("it is a map"),
    }
}

fn rules(rows: &[Row]) -> Value {
    rows.iter().map(|row| row.to_value()).collect()
}

fn cluster_role(name: &str, rows: &[Row], aggregate_to: &str) -> PolicyObject {
    let mut metadata = json!({"name": name, "labels": {}});
    if !aggregate_to.is_empty() {
        metadata["labels"][aggregate_to] = "true".into();
    }
    object(
        CLUSTER_ROLES,
        "ClusterRole",
        metadata,
        json!({"rules": rules(rows)}),
    )
}

fn aggregated_role(name: &str, aggregate_to: &str) -> PolicyObject {
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
    let mut role = cluster_role(name, &[], aggregate_to).object.into_tree();
    role.insert("rules".into(), Value::Null);
    role.insert(
        "aggregationRule".into(),
        json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}),
    );
    PolicyObject {
        resource: CLUSTER_ROLES,
        object: Object::new(role),
    }
}

fn binding(
    resource: GroupVersionResource,
    kind: &str,
    metadata: Value,
    role: (&str, &str),
    subjects: &[Subject],
) -> PolicyObject {
    let mut rest = json!({"roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}});
    if !subjects.is_empty() {
        rest["subjects"] = subjects.iter().map(|subject| subject.to_value()).collect();
    }
    object(resource, kind, metadata, rest)
}

/// Every object of the policy: cluster roles, their bindings, roles, their bindings.
#[must_use]
pub fn bootstrap_policy() -> Vec<PolicyObject> {
    let mut all = users::cluster_roles();
    all.extend(
        components::CLUSTER_ROLES
            .iter()
            .map(|(name, rows)| cluster_role(name, rows, "")),
    );
    for (name, rows) in controllers::CLUSTER_ROLES {
        all.push(cluster_role(&format!("system:controller:{name}"), rows, ""));
    }
    for (name, role, subjects) in components::CLUSTER_ROLE_BINDINGS {
        let metadata = json!({"name": name, "labels": {}});
        let role = ("ClusterRole", *role);
        all.push(binding(
            CLUSTER_ROLE_BINDINGS,
            "ClusterRoleBinding",
            metadata,
            role,
            subjects,
        ));
    }
    for (name, _) in controllers::CLUSTER_ROLES {
        let full = format!("system:controller:{name}");
        all.push(binding(
            CLUSTER_ROLE_BINDINGS,
            "ClusterRoleBinding",
            json!({"name": full, "labels": {}}),
            ("ClusterRole", &full),
            &[Subject::ServiceAccount(name)],
        ));
    }
    for (namespace, name, rows) in namespaced::ROLES {
        let metadata = json!({"name": name, "namespace": namespace, "labels": {}});
        all.push(object(
            ROLES,
            "Role",
            metadata,
            json!({"rules": rules(rows)}),
        ));
    }
    for (namespace, name, role, subjects) in namespaced::ROLE_BINDINGS {
        let metadata = json!({"name": name, "namespace": namespace, "labels": {}});
        all.push(binding(
            ROLE_BINDINGS,
            "RoleBinding",
            metadata,
            ("Role", role),
            subjects,
        ));
    }
    all
}

#[cfg(test)]
mod tests;

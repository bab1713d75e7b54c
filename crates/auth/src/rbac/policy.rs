//! All roles and bindings, indexed by who they speak of.

use super::Rule;
use crate::user::{SERVICE_ACCOUNT_PREFIX, UserInfo};
use kontiki_client::{Delta, ObjectCache};
use kontiki_object::{Object, Value};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

/// Who a binding speaks of. Service accounts are users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    /// `ClusterRoleBinding "x"` or `RoleBinding "x/ns"`, as reasons name it.
    title: String,
    subject_title: String,
    is_cluster_role: bool,
    role: String,
    namespace: String,
}

type BySubject = HashMap<Subject, Vec<Arc<Binding>>>;

/// An immutable index of all roles and bindings.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: HashMap<String, Arc<[Rule]>>,
    roles: HashMap<String, Arc<[Rule]>>,
    cluster_bindings: BySubject,
    bindings: HashMap<String, BySubject>,
}

/// What one binding gives a user.
pub(super) struct Grant<'a> {
    pub(super) rules: &'a [Rule],
    binding: &'a Binding,
}

impl Grant<'_> {
    pub(super) fn reason(&self) -> String {
        let Binding {
            title,
            subject_title,
            is_cluster_role,
            role,
            ..
        } = self.binding;
        let role = if *is_cluster_role {
            format!("ClusterRole \"{role}\"")
        } else {
            format!("Role \"{role}\"")
        };
        format!("RBAC: allowed by {title} of {role} to {subject_title}")
    }
}

impl Policy {
    /// From all objects.
    #[must_use]
    pub fn build<'a>(
        cluster_roles: impl IntoIterator<Item = &'a Object>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Object>,
        roles: impl IntoIterator<Item = &'a Object>,
        role_bindings: impl IntoIterator<Item = &'a Object>,
    ) -> Self {
        let rules = |object: &Object| Rule::list(object.get(&["rules"])).into();
        let mut policy = Self {
            cluster_roles: cluster_roles
                .into_iter()
                .map(|role| (role.name().to_owned(), rules(role)))
                .collect(),
            roles: roles
                .into_iter()
                .map(|role| (role.key(), rules(role)))
                .collect(),
            ..Self::default()
        };
        for binding in cluster_role_bindings {
            let title = format!("ClusterRoleBinding \"{}\"", binding.name());
            index(&mut policy.cluster_bindings, binding, &title);
        }
        for binding in role_bindings {
            let namespace = binding.namespace();
            let title = format!("RoleBinding \"{}/{namespace}\"", binding.name());
            let of_namespace = policy.bindings.entry(namespace.to_owned()).or_default();
            index(of_namespace, binding, &title);
        }
        policy
    }

    /// Visits what a user has been given in a namespace, or a text that says
    /// which bound role does not exist, until the visitor says `false`.
    pub(super) fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visitor: impl FnMut(Result<Grant<'_>, String>) -> bool,
    ) {
        let subjects: Vec<Subject> = std::iter::once(Subject::User(user.name.clone()))
            .chain(user.groups.iter().cloned().map(Subject::Group))
            .collect();
        let of_namespace = self
            .bindings
            .get(namespace)
            .filter(|_| !namespace.is_empty());
        for map in std::iter::once(&self.cluster_bindings).chain(of_namespace) {
            for subject in &subjects {
                for binding in map.get(subject).into_iter().flatten() {
                    let found = self
                        .rules_of(binding.is_cluster_role, &binding.namespace, &binding.role)
                        .map(|rules| Grant { rules, binding });
                    if !visitor(found) {
                        return;
                    }
                }
            }
        }
    }

    /// The rules of a role, or a text that says that it does not exist.
    pub(super) fn rules_of(
        &self,
        is_cluster_role: bool,
        namespace: &str,
        role: &str,
    ) -> Result<&[Rule], String> {
        let (found, kind) = if is_cluster_role {
            (self.cluster_roles.get(role), "clusterrole")
        } else {
            let key = format!("{namespace}/{role}");
            (self.roles.get(&key), "role")
        };
        found
            .map(AsRef::as_ref)
            .ok_or_else(|| format!("{kind}.rbac.authorization.k8s.io \"{role}\" not found"))
    }

    /// Every rule that a user has been given in a namespace.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let mut all = Vec::new();
        self.visit(user, namespace, |found| {
            if let Ok(grant) = found {
                all.extend_from_slice(grant.rules);
            }
            true
        });
        all
    }
}

fn index(map: &mut BySubject, binding: &Object, title: &str) {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let empty = Value::Null;
    let role = binding.get(&["roleRef"]).unwrap_or(&empty);
    let subjects = binding.get(&["subjects"]).and_then(Value::as_array);
    for subject in subjects.into_iter().flatten() {
        let name = text(subject, "name");
        let (key, subject_title) = match &*text(subject, "kind") {
            "User" => (Subject::User(name.clone()), format!("User \"{name}\"")),
            "Group" => (Subject::Group(name.clone()), format!("Group \"{name}\"")),
            "ServiceAccount" => {
                let mut namespace = text(subject, "namespace");
                if namespace.is_empty() {
                    binding.namespace().clone_into(&mut namespace);
                }
                (
                    Subject::User(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")),
                    format!("ServiceAccount \"{name}/{namespace}\""),
                )
            }
            _ => continue,
        };
        map.entry(key).or_default().push(Arc::new(Binding {
            title: title.to_owned(),
            subject_title,
            is_cluster_role: text(role, "kind") == "ClusterRole",
            role: text(role, "name"),
            namespace: binding.namespace().to_owned(),
        }));
    }
}

/// The caches that a policy is built from.
#[derive(Clone)]
#[expect(missing_docs, reason = "the names are those of the resources")]
pub struct PolicyCaches {
    pub cluster_roles: Arc<ObjectCache>,
    pub cluster_role_bindings: Arc<ObjectCache>,
    pub roles: Arc<ObjectCache>,
    pub role_bindings: Arc<ObjectCache>,
}

impl PolicyCaches {
    /// The policy that the caches hold now.
    #[must_use]
    pub fn build(&self) -> Policy {
        let [cluster_roles, cluster_role_bindings, roles, role_bindings] =
            self.all().map(|cache| cache.list());
        Policy::build(
            cluster_roles.iter().map(AsRef::as_ref),
            cluster_role_bindings.iter().map(AsRef::as_ref),
            roles.iter().map(AsRef::as_ref),
            role_bindings.iter().map(AsRef::as_ref),
        )
    }

    fn all(&self) -> [&Arc<ObjectCache>; 4] {
        [
            &self.cluster_roles,
            &self.cluster_role_bindings,
            &self.roles,
            &self.role_bindings,
        ]
    }

    pub(super) fn subscribe(&self) -> Feeds {
        Feeds(self.all().map(|cache| cache.subscribe()))
    }
}

/// Changes of the four caches.
pub(super) struct Feeds([UnboundedReceiver<Delta>; 4]);

impl Feeds {
    /// Waits for a change; `false` if none can come any more.
    pub(super) async fn changed(&mut self) -> bool {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            change = a.recv() => change.is_some(),
            change = b.recv() => change.is_some(),
            change = c.recv() => change.is_some(),
            change = d.recv() => change.is_some(),
        }
    }

    pub(super) fn drain(&mut self) {
        for feed in &mut self.0 {
            while feed.try_recv().is_ok() {}
        }
    }
}

//! A user, as authentication found it and authorization judges it.

use std::collections::BTreeMap;

/// Name of every user that presented no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group of users that presented no credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group of users that presented valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group that may do everything, whatever the policy says.
pub const MASTERS: &str = "system:masters";
/// Group of nodes.
pub const NODES: &str = "system:nodes";
/// What the user names of nodes begin with.
pub const NODE_PREFIX: &str = "system:node:";
/// Group of all service accounts.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// What the user names of service accounts begin with.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The namespace of the system's own service accounts.
pub const SYSTEM_NAMESPACE: &str = "kube-system";
/// Group of nodes that hold only a bootstrap token.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The scheduler.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The controller manager.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The API server itself.
pub const API_SERVER: &str = "system:apiserver";

/// Extra values of a user: each key may have several.
pub type Extra = BTreeMap<String, Vec<String>>;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The user's name, unique in the cluster.
    pub name: String,
    /// Tells two users of the same name apart over time; may be empty.
    pub uid: String,
    /// The groups, in the order in which the credentials give them.
    pub groups: Vec<String>,
    /// What else the credentials say.
    pub extra: Extra,
}

impl UserInfo {
    /// A user with groups and nothing else.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The user without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, &[UNAUTHENTICATED])
    }

    /// A service account as its tokens name it, with the groups of all authenticated users.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let namespace_group = format!("{SERVICE_ACCOUNTS}:{namespace}");
        let mut user = Self::new(
            format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            &[SERVICE_ACCOUNTS, &namespace_group],
        );
        uid.clone_into(&mut user.uid);
        user
    }

    /// Whether the user is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Adds the group of all authenticated users, unless the user is in it or
    /// did not authenticate.
    #[must_use]
    pub fn with_authenticated_group(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// The node's name, if the user is a node.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        if !self.is_in(NODES) {
            return None;
        }
        self.name
            .strip_prefix(NODE_PREFIX)
            .filter(|name| !name.is_empty())
    }

    /// Namespace and name, if the user is a service account.
    #[must_use]
    pub fn service_account_name(&self) -> Option<(&str, &str)> {
        self.name
            .strip_prefix(SERVICE_ACCOUNT_PREFIX)?
            .split_once(':')
            .filter(|(namespace, name)| {
                !namespace.is_empty() && !name.is_empty() && !name.contains(':')
            })
    }
}

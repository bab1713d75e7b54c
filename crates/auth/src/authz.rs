//! Authorization: may this user do this?

mod message;

use crate::UserInfo;
use crate::user::MASTERS;
use async_trait::async_trait;
use kontiki_object::{FieldSelector, LabelSelector, Status};
use std::borrow::Cow;
use std::sync::Arc;

/// What is asked for, as policies see it.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`, or another word; for paths the HTTP method in lower case.
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource; empty for the resource itself.
    pub subresource: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Object name; empty for collections.
    pub name: String,
    /// Whether this is about a resource; else about `path`.
    pub is_resource: bool,
    /// The URL path, for what is not a resource.
    pub path: String,
    /// Field selector of a list, watch or deletecollection.
    pub field_selector: Option<FieldSelector>,
    /// Label selector of a list, watch or deletecollection.
    pub label_selector: Option<LabelSelector>,
}

impl Attributes {
    /// Whether it only reads.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(&*self.verb, "get" | "list" | "watch")
    }

    /// `pods` or `pods/log`.
    #[must_use]
    pub fn combined_resource(&self) -> Cow<'_, str> {
        if self.subresource.is_empty() {
            Cow::Borrowed(&self.resource)
        } else {
            Cow::Owned(format!("{}/{}", self.resource, self.subresource))
        }
    }

    /// The 403 that answers when nobody allowed it; `reason` may be empty.
    #[must_use]
    pub fn forbidden(&self, reason: &str) -> Status {
        message::forbidden(self, reason)
    }
}

/// What an authorizer says. The reason is for audit and for the 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; nobody else is asked.
    Allow {
        /// Why.
        reason: Cow<'static, str>,
    },
    /// No; nobody else is asked.
    Deny {
        /// Why.
        reason: Cow<'static, str>,
    },
    /// Somebody else may allow it.
    NoOpinion {
        /// Why not; may be empty.
        reason: Cow<'static, str>,
    },
}

impl Decision {
    /// Yes, because of `reason`.
    pub fn allow(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Allow {
            reason: reason.into(),
        }
    }

    /// No, because of `reason`.
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny {
            reason: reason.into(),
        }
    }

    /// Not from here, because of `reason`.
    pub fn no_opinion(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NoOpinion {
            reason: reason.into(),
        }
    }

    /// Whether it is a yes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow { reason } | Self::Deny { reason } | Self::NoOpinion { reason } => reason,
        }
    }
}

/// Decides about requests.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Decides about one request.
    async fn authorize(&self, attributes: &Attributes) -> Decision;

    /// What a user may do in a namespace, as far as this authorizer can list it.
    fn rules(&self, user: &UserInfo, namespace: &str) -> RulesStatus {
        let _ = (user, namespace);
        RulesStatus {
            incomplete: true,
            ..RulesStatus::default()
        }
    }
}

/// What a user may do, as `SelfSubjectRulesReview` reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesStatus {
    /// Rules about resources.
    pub resource_rules: Vec<ResourceRule>,
    /// Rules about paths.
    pub non_resource_rules: Vec<NonResourceRule>,
    /// Whether there may be more that could not be listed.
    pub incomplete: bool,
    /// Why, if something went wrong.
    pub evaluation_error: String,
}

/// A rule about resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// A rule about paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

/// Asks one authorizer after the other; the first that has an opinion decides.
pub struct Union {
    members: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    /// In the order in which they are asked.
    #[must_use]
    pub fn new(members: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { members }
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut reasons: Vec<String> = Vec::new();
        for member in &self.members {
            match member.authorize(attributes).await {
                Decision::NoOpinion { reason } if reason.is_empty() => {}
                Decision::NoOpinion { reason } => reasons.push(reason.into_owned()),
                decided => return decided,
            }
        }
        Decision::no_opinion(reasons.join("\n"))
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> RulesStatus {
        let mut all = RulesStatus::default();
        let mut errors = Vec::new();
        for member in &self.members {
            let one = member.rules(user, namespace);
            all.resource_rules.extend(one.resource_rules);
            all.non_resource_rules.extend(one.non_resource_rules);
            all.incomplete |= one.incomplete;
            if !one.evaluation_error.is_empty() {
                errors.push(one.evaluation_error);
            }
        }
        all.evaluation_error = errors.join(", ");
        all
    }
}

/// Allows a group everything. `system:masters` is wired in so that nobody can
/// lock themselves out of a cluster by a mistake in its policy.
pub struct PrivilegedGroups(pub Vec<&'static str>);

impl Default for PrivilegedGroups {
    fn default() -> Self {
        Self(vec![MASTERS])
    }
}

#[async_trait]
impl Authorizer for PrivilegedGroups {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        if self.0.iter().any(|group| attributes.user.is_in(group)) {
            return Decision::allow("");
        }
        Decision::no_opinion("")
    }

    fn rules(&self, user: &UserInfo, _namespace: &str) -> RulesStatus {
        let everything = vec!["*".to_owned()];
        if !self.0.iter().any(|group| user.is_in(group)) {
            return RulesStatus::default();
        }
        RulesStatus {
            resource_rules: vec![ResourceRule {
                verbs: everything.clone(),
                api_groups: everything.clone(),
                resources: everything.clone(),
                resource_names: Vec::new(),
            }],
            non_resource_rules: vec![NonResourceRule {
                verbs: everything.clone(),
                non_resource_urls: everything,
            }],
            ..RulesStatus::default()
        }
    }
}

#[cfg(test)]
mod tests;

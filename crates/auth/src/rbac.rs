//! Role-based access control.
//!
//! [`Policy`] is an immutable index of all roles and bindings, made anew when
//! one changes and swapped in by a pointer: a decision takes no lock.

mod escalation;
mod policy;
mod rule;

pub use escalation::{check_binding, check_role, covers};
pub use policy::{Policy, PolicyCaches};
pub use rule::Rule;

use crate::authz::{Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RulesStatus};
use crate::user::UserInfo;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Decides by roles and bindings.
#[derive(Default)]
pub struct Rbac {
    policy: ArcSwap<Policy>,
}

impl Rbac {
    /// With a policy that does not change by itself.
    #[must_use]
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            policy: ArcSwap::from_pointee(policy),
        })
    }

    /// The present policy.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Decisions follow this policy from now on.
    pub fn replace(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Follows the caches until `cancel` is cancelled.
    pub async fn follow(self: Arc<Self>, caches: PolicyCaches, cancel: CancellationToken) {
        let mut feeds = caches.subscribe();
        // Built after subscribing, so that no change falls in between.
        self.replace(caches.build());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                more = feeds.changed() => if !more { return },
            }
            // What arrived meanwhile is part of the same rebuild.
            feeds.drain();
            self.replace(caches.build());
        }
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let policy = self.policy.load();
        let mut missing = Vec::new();
        let mut allowed = None;
        policy.visit(
            &attributes.user,
            &attributes.namespace,
            |found| match found {
                Ok(grant) => {
                    if grant.rules.iter().any(|rule| rule.allows(attributes)) {
                        allowed = Some(grant.reason());
                    }
                    allowed.is_none()
                }
                Err(role) => {
                    missing.push(role);
                    true
                }
            },
        );
        match (allowed, missing.is_empty()) {
            (Some(reason), _) => Decision::allow(reason),
            (None, true) => Decision::no_opinion(""),
            (None, false) => Decision::no_opinion(format!("RBAC: {}", listed(&missing))),
        }
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> RulesStatus {
        let policy = self.policy.load();
        let mut status = RulesStatus::default();
        let mut missing = Vec::new();
        policy.visit(user, namespace, |found| {
            match found {
                Ok(grant) => grant.rules.iter().for_each(|rule| add(&mut status, rule)),
                Err(role) => missing.push(role),
            }
            true
        });
        status.evaluation_error = listed(&missing);
        status
    }
}

fn add(status: &mut RulesStatus, rule: &Rule) {
    if !rule.resources.is_empty() {
        status.resource_rules.push(ResourceRule {
            verbs: rule.verbs.clone(),
            api_groups: rule.api_groups.clone(),
            resources: rule.resources.clone(),
            resource_names: rule.resource_names.clone(),
        });
    }
    if !rule.non_resource_urls.is_empty() {
        status.non_resource_rules.push(NonResourceRule {
            verbs: rule.verbs.clone(),
            non_resource_urls: rule.non_resource_urls.clone(),
        });
    }
}

/// One error as it is, several in brackets.
fn listed(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests;

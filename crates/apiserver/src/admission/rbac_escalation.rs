//! `RbacEscalation`: nobody may give away permissions that they do not have.
//!
//! Upstream does this in the storage of these four kinds; as a validation it
//! sees every create, update and patch, whatever the transport.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_auth::rbac::{Rbac, check_binding, check_role};
use kontiki_kinds::Tree;
use kontiki_object::{Object, Status};
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct RbacEscalation {
    pub(super) rbac: Arc<Rbac>,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

/// Whether a write leaves all of these fields as they are.
fn keeps(old: Option<&Tree>, new: &Tree, fields: &[&str]) -> bool {
    old.is_some_and(|old| {
        fields
            .iter()
            .all(|field| old.get(*field) == new.get(*field))
    })
}

#[async_trait]
impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !matches!(attributes.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let is_one_of = |names: &[&str]| names.iter().any(|name| attributes.is_for(GROUP, name));
        let is_role = is_one_of(&["roles", "clusterroles"]);
        if !is_role && !is_one_of(&["rolebindings", "clusterrolebindings"]) {
            return Ok(());
        }
        let Some(object) = attributes.object.as_deref() else {
            return Ok(());
        };
        let granting: &[&str] = match is_role {
            true => &["rules", "aggregationRule"],
            false => &["roleRef", "subjects"],
        };
        if keeps(attributes.old, object, granting) {
            return Ok(());
        }
        let (policy, user) = (self.rbac.policy(), &attributes.context.user);
        let object = Object::new(object.clone());
        match is_role {
            true => check_role(&policy, &*self.authorizer, user, &object).await,
            false => check_binding(&policy, &*self.authorizer, user, &object).await,
        }
    }
}

//! `RbacEscalation`: nobody may give away permissions that they do not have.
//!
//! Upstream does this in the storage of these four kinds, after everybody has
//! changed the object and before it is validated. As the last plugin that may
//! change objects it sees every create, update and patch, whatever the transport.

use super::{Attributes, Operation, Plugin, only_lets_go};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_auth::rbac::{Rbac, check_binding, check_role};
use kontiki_object::{Object, Status};
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct RbacEscalation {
    pub(super) rbac: Arc<Rbac>,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
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
        if attributes.old.is_some_and(|old| only_lets_go(old, object)) {
            return Ok(());
        }
        let (policy, user) = (self.rbac.policy(), &attributes.context.user);
        let authorizer = &*self.authorizer;
        let object = Object::new(object.clone());
        if !is_role {
            return check_binding(&policy, authorizer, user, &object).await;
        }
        let old = attributes.old.map(|old| Object::new(old.clone()));
        let named = match attributes.operation {
            Operation::Create => "",
            _ => &attributes.target.name,
        };
        check_role(&policy, authorizer, user, named, &object, old.as_ref()).await
    }
}

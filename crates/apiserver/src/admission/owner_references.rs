//! `OwnerReferencesPermissionEnforcement`: whoever gives an object an owner must
//! be able to delete the object, and to hold up the owner's deletion if the
//! reference says so.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_auth::{Authorizer, authz};
use kontiki_kinds::Tree;
use kontiki_object::{Object, OwnerReference, Status, Value};
use std::sync::Arc;

pub(super) struct OwnerReferencesPermissionEnforcement {
    pub(super) authorizer: Arc<dyn Authorizer>,
}

fn raw(object: Option<&Tree>) -> Vec<Value> {
    let metadata = object.and_then(|object| object.get("metadata"));
    let list = metadata.and_then(|metadata| metadata.get("ownerReferences")?.as_array());
    list.cloned().unwrap_or_default()
}

fn references(object: Option<&Tree>) -> Vec<OwnerReference> {
    object.map_or_else(Vec::new, |object| {
        Object::new(object.clone()).owner_references()
    })
}

/// References that block from now on.
fn newly_blocking(new: Option<&Tree>, old: Option<&Tree>) -> Vec<OwnerReference> {
    let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
    let known = references(old);
    let mut all = references(new);
    all.retain(|owner| {
        let before = known
            .iter()
            .any(|known| known.uid == owner.uid && blocks(known));
        blocks(owner) && !before
    });
    all
}

impl OwnerReferencesPermissionEnforcement {
    async fn may_hold(
        &self,
        attributes: &Attributes<'_>,
        owner: &OwnerReference,
    ) -> Result<(), Status> {
        let (group, version) = match owner.api_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", &*owner.api_version),
        };
        let served = attributes.registry.catalog().kinds();
        let mut found = served.iter().filter(|kind| {
            kind.kind == owner.kind && kind.group == group && kind.version == version
        });
        let Some(kind) = found.next() else {
            return Err(attributes.forbidden(&format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: no matches for kind {:?} in version {:?}",
                owner.api_version, owner.kind, owner.kind, owner.api_version
            )));
        };
        let namespace = match kind.namespaced {
            true => attributes.target.namespace.clone(),
            false => String::new(),
        };
        let asked = authz::Attributes {
            user: attributes.context.user.clone(),
            verb: "update".to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: kind.plural.to_string(),
            subresource: "finalizers".to_owned(),
            namespace,
            name: owner.name.clone(),
            is_resource: true,
            ..authz::Attributes::default()
        };
        let decision = self.authorizer.authorize(&asked).await;
        if decision.is_allowed() {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
            decision.reason()
        )))
    }

    async fn may_delete(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let target = attributes.target;
        let user = &attributes.context.user;
        let asked = crate::dispatch::attributes(user, "delete", &target.kind, target);
        let decision = self.authorizer.authorize(&asked).await;
        if decision.is_allowed() {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "cannot set an ownerRef on a resource you can't delete: {}, <nil>",
            decision.reason()
        )))
    }
}

#[async_trait]
impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let target = attributes.target;
        let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
        // The strategy of pods' statuses keeps the owners by itself.
        let is_pod_status = target.kind.group.is_empty()
            && target.kind.plural == "pods"
            && target.subresource == "status";
        let (new, old) = (attributes.object.as_deref(), attributes.old);
        if !is_write || is_pod_status || raw(new) == raw(old) {
            return Ok(());
        }
        // Whoever creates an object could as well leave it.
        if attributes.operation != Operation::Create {
            self.may_delete(attributes).await?;
        }
        let blocking = newly_blocking(new, old);
        if blocking.is_empty() {
            return Ok(());
        }
        let anything = authz::Attributes {
            user: attributes.context.user.clone(),
            verb: "update".to_owned(),
            group: "*".to_owned(),
            version: "*".to_owned(),
            resource: "*".to_owned(),
            subresource: "finalizers".to_owned(),
            name: "*".to_owned(),
            is_resource: true,
            ..authz::Attributes::default()
        };
        if self.authorizer.authorize(&anything).await.is_allowed() {
            return Ok(());
        }
        for owner in &blocking {
            self.may_hold(attributes, owner).await?;
        }
        Ok(())
    }
}

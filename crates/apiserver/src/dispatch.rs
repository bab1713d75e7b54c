//! From a request that is allowed to what the registry does, for every transport.

use crate::registry::{
    DeleteOutcome, DeleteRequest, ListPage, ListRequest, PatchBody, Registry, RequestContext,
    Target, UpdateOutcome, WriteOptions,
};
use crate::server::Inner;
use crate::{review, subresource};
use kontiki_auth::authz::Attributes;
use kontiki_auth::{Decision, UserInfo};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{SharedObject, Status};
use std::sync::Arc;

/// What to do.
pub enum Action {
    /// Read one object.
    Get {
        /// The version.
        resource_version: String,
    },
    /// Read many.
    List(ListRequest),
    /// Make one.
    Create(Tree, WriteOptions),
    /// Replace one.
    Update(Tree, WriteOptions),
    /// Change one.
    Patch(PatchBody, WriteOptions),
    /// Delete one.
    Delete(DeleteRequest),
    /// Delete many.
    DeleteCollection(ListRequest, DeleteRequest),
}

/// What came of it.
pub enum Answer {
    /// One object, and whether it is new.
    Object {
        /// The object.
        object: SharedObject,
        /// Whether it is new: 201.
        created: bool,
    },
    /// A page.
    List(ListPage),
    /// A deletion.
    Deleted(DeleteOutcome),
    /// Neither: a success told in words.
    Status(Status),
}

impl Answer {
    fn object(object: SharedObject, created: bool) -> Self {
        Self::Object { object, created }
    }
}

impl From<UpdateOutcome> for Answer {
    fn from(outcome: UpdateOutcome) -> Self {
        Self::object(outcome.object, outcome.created)
    }
}

/// Asks the authorizer.
///
/// # Errors
/// 403.
pub async fn authorize(inner: &Inner, attributes: &Attributes) -> Result<(), Status> {
    match inner.config.authorizer.authorize(attributes).await {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => {
            Err(attributes.forbidden(&reason))
        }
    }
}

/// Attributes of a request for a resource.
#[must_use]
pub fn attributes(user: &Arc<UserInfo>, verb: &str, kind: &Kind, target: &Target) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        resource: kind.plural.to_string(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        is_resource: true,
        ..Attributes::default()
    }
}

/// Carries an action out.
///
/// # Errors
/// Whatever the registry or the subresource says.
pub async fn perform(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    let registry = &inner.registry;
    if is_special(target) {
        return subresource::perform(inner, context, target, action).await;
    }
    if target.kind.storage.is_none() {
        return review::perform(inner, context, target, action).await;
    }
    plain(registry, context, target, action).await
}

/// Subresources that are written as the whole object take the common path.
fn is_special(target: &Target) -> bool {
    let kind = &target.kind;
    !target.subresource.is_empty()
        && kind
            .subresource(&target.subresource)
            .is_none_or(|sub| sub.kind != kind.kind || sub.name == "log")
}

async fn plain(
    registry: &Arc<Registry>,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    Ok(match action {
        Action::Get { resource_version } => {
            Answer::object(registry.get(target, &resource_version).await?, false)
        }
        Action::List(request) => Answer::List(registry.list(target, &request).await?),
        Action::Create(tree, options) => {
            let object = registry.create(context, target, tree, &options).await?;
            Answer::object(object, true)
        }
        Action::Update(tree, options) => registry
            .update(context, target, tree, &options)
            .await?
            .into(),
        Action::Patch(patch, options) => registry
            .patch(context, target, &patch, &options)
            .await?
            .into(),
        Action::Delete(request) => {
            Answer::Deleted(registry.delete(context, target, &request).await?)
        }
        Action::DeleteCollection(list, request) => {
            let page = registry
                .delete_collection(context, target, &list, &request)
                .await?;
            Answer::List(page)
        }
    })
}

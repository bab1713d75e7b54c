//! Parts of resources that have a form of their own.

mod binding;
mod eviction;
mod scale;
mod token;

use crate::admission::Operation;
use crate::dispatch::{Action, Answer};
use crate::registry::{RequestContext, Target};
use crate::server::Inner;
use kontiki_object::Status;

/// Carries an action on a subresource out.
///
/// # Errors
/// 405 for what it does not do, or what it says.
pub async fn perform(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    match (&*target.subresource, action) {
        ("scale", action) => scale::perform(inner, context, target, action).await,
        ("binding", Action::Create(mut tree, options)) => {
            admit(inner, context, target, &mut tree, options.dry_run).await?;
            binding::bind(inner, context, target, &tree, &options).await
        }
        ("eviction", Action::Create(mut tree, options)) => {
            admit(inner, context, target, &mut tree, options.dry_run).await?;
            eviction::evict(inner, context, target, &tree, &options).await
        }
        ("token", Action::Create(mut tree, options)) => {
            admit(inner, context, target, &mut tree, options.dry_run).await?;
            token::request(inner, context, target, tree, &options).await
        }
        _ => Err(not_allowed()),
    }
}

/// Subresources are created, as admission sees it.
pub(crate) async fn admit(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    tree: &mut kontiki_kinds::Tree,
    dry_run: bool,
) -> Result<(), Status> {
    let create = Operation::Create;
    let registry = &inner.registry;
    registry.admit(context, target, create, tree, dry_run).await
}

/// 405 for a verb that a path does not know.
#[must_use]
pub fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    let mut status = Status::failure(405, "MethodNotAllowed", message);
    status.details = Some(kontiki_object::Details::default());
    status
}

/// The kind that a request is answered in: that of the target, but for parts
/// which are told in a table of their own.
#[must_use]
pub fn answered_kind(target: &Target) -> &std::sync::Arc<kontiki_kinds::Kind> {
    match &*target.subresource {
        "scale" => scale::kind(),
        _ => &target.kind,
    }
}

pub use binding::bind as bind_pod;

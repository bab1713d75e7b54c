//! Kinds that are never stored: questions that the server answers at once.

mod access;
mod token;

use crate::dispatch::{Action, Answer};
use crate::registry::{RequestContext, Target};
use crate::server::Inner;
use crate::subresource;
use kontiki_object::{Object, Status, Value};
use std::sync::Arc;

/// Answers a question.
///
/// # Errors
/// 405 for anything but a create, or what the question's own check says.
pub async fn perform(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    let kind = &target.kind;
    let (tree, options) = match action {
        Action::Create(tree, options) => (tree, options),
        Action::List(_) if kind.has_verb("list") => {
            return Ok(Answer::List(crate::registry::ListPage::default()));
        }
        Action::Get { .. } if kind.has_verb("get") => return Err(target.not_found()),
        _ => return Err(subresource::not_allowed()),
    };
    if kind.group.is_empty() && kind.plural == "bindings" {
        let pods = inner.registry.catalog().find("", "v1", "pods");
        let pods = pods.ok_or_else(Status::no_such_path)?;
        let name = Object::new(tree.clone()).name().to_owned();
        let mut pod = Target::object(&pods, &target.namespace, &name);
        "binding".clone_into(&mut pod.subresource);
        return subresource::bind_pod(inner, context, &pod, &tree, &options).await;
    }
    let mut review = Value::Object(tree);
    review["apiVersion"] = kind.api_version().into();
    review["kind"] = kind.kind.clone().into();
    if !review["metadata"].is_object() {
        review["metadata"] = Value::Object(kontiki_kinds::Tree::new());
    }
    match &*kind.kind {
        "TokenReview" => token::review(inner, &mut review).await?,
        "SelfSubjectReview" => token::who_am_i(context, &mut review),
        "SelfSubjectRulesReview" => access::rules(inner, context, &mut review),
        _ => access::review(inner, context, target, &mut review).await?,
    }
    let object = Object::from_value(review).ok_or_else(|| Status::internal("a review is a map"))?;
    Ok(Answer::Object {
        object: Arc::new(object),
        created: true,
    })
}

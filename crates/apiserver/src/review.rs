//! Kinds that are never stored: questions that the server answers at once.

mod access;
mod token;

use crate::dispatch::{Action, Answer};
use crate::registry::{RequestContext, Target, note_creation, shape};
use crate::server::Inner;
use crate::subresource;
use kontiki_object::{Object, Status, Value};
use serde_json::json;
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
    let (mut tree, options) = match action {
        Action::Create(tree, options) => (tree, options),
        Action::List(_) if kind.has_verb("list") => {
            return Ok(Answer::List(crate::registry::ListPage::default()));
        }
        Action::Get { .. } if kind.has_verb("get") => return Err(target.not_found()),
        _ => return Err(subresource::not_allowed()),
    };
    subresource::admit(inner, context, target, &mut tree, options.dry_run).await?;
    if kind.group.is_empty() && kind.plural == "bindings" {
        let pods = inner.registry.catalog().find("", "v1", "pods");
        let pods = pods.ok_or_else(Status::no_such_path)?;
        let name = Object::new(tree.clone()).name().to_owned();
        let mut pod = Target::object(&pods, &target.namespace, &name);
        "binding".clone_into(&mut pod.subresource);
        return subresource::bind_pod(inner, context, &pod, &tree, &options).await;
    }
    let mut tree = shape(kind, tree)?;
    if kind.namespaced {
        crate::registry::place(target, &mut tree)?;
    }
    note_creation(kind, context, &options, &mut tree, "");
    let asked = Value::Object(tree);
    let review = match &*kind.kind {
        "TokenReview" => token::review(inner, asked).await?,
        "SelfSubjectReview" => token::who_am_i(context),
        "SelfSubjectRulesReview" => access::rules(inner, context, &asked)?,
        _ => access::review(inner, context, target, asked).await?,
    };
    let mut review = match review {
        Value::Object(review) => review,
        _ => return Err(Status::internal("a review is a map")),
    };
    review.insert("apiVersion".to_owned(), kind.api_version().into());
    review.insert("kind".to_owned(), kind.kind.clone().into());
    review.entry("metadata").or_insert_with(|| json!({}));
    Ok(Answer::Object {
        object: Arc::new(Object::new(review)),
        created: true,
    })
}

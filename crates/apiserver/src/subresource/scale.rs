//! `scale`: the number of replicas, for any kind that has some.

use super::not_allowed;
use crate::dispatch::{Action, Answer};
use crate::registry::{RequestContext, Target, WriteOptions, patch_tree};
use crate::server::Inner;
use kontiki_kinds::{FieldError, Path, Tree};
use kontiki_object::{LabelSelector, Object, SharedObject, Status, Value};
use kontiki_schema::{Node, Schema};
use serde_json::json;
use std::sync::Arc;

fn selector_text(object: &Object) -> String {
    let Some(selector) = object.get(&["spec", "selector"]) else {
        return String::new();
    };
    // Replication controllers select by plain labels.
    let is_plain =
        selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if is_plain {
        let pairs = selector.as_object().into_iter().flatten();
        let texts: Vec<String> = pairs
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        return texts.join(",");
    }
    LabelSelector::from_field(Some(selector))
        .map(|selector| selector.to_string())
        .unwrap_or_default()
}

fn scale_of(object: &Object) -> SharedObject {
    let number = |path: &[&str]| object.get(path).and_then(Value::as_i64).unwrap_or_default();
    let mut scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {},
        "spec": {},
        "status": {"replicas": number(&["status", "replicas"])},
    });
    let replicas = number(&["spec", "replicas"]);
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.get(&["metadata", field]) {
            scale["metadata"][field] = value.clone();
        }
    }
    let selector = selector_text(object);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    Arc::new(Object::from_value(scale).unwrap_or_else(|| Object::new(Tree::new())))
}

/// Reads or writes a scale.
pub async fn perform(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    let whole = Target::object(&target.kind, &target.namespace, &target.name);
    match action {
        Action::Get { resource_version } => {
            let object = inner.registry.get(&whole, &resource_version).await?;
            Ok(Answer::Object {
                object: scale_of(&object),
                created: false,
            })
        }
        Action::Update(tree, options) => {
            write(inner, context, target, &options, |_| Ok(tree.clone())).await
        }
        Action::Patch(patch, options) => {
            let node = Schema::get()
                .type_for_api_version("autoscaling/v1", "Scale")
                .map_or_else(Node::untyped, Node::of);
            write(inner, context, target, &options, |live| {
                patch_tree(node, live, &patch)
            })
            .await
        }
        _ => Err(not_allowed()),
    }
}

async fn write(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    options: &WriteOptions,
    wish: impl Fn(&Tree) -> Result<Tree, Status> + Send + Sync,
) -> Result<Answer, Status> {
    let mut edit = |object: &mut Tree| {
        let live = scale_of(&Object::new(object.clone()));
        let scale = Object::new(wish(live.tree())?);
        let version = scale.resource_version();
        if !version.is_empty() && version != live.resource_version() {
            return Err(target.modified());
        }
        let replicas = scale
            .get(&["spec", "replicas"])
            .cloned()
            .unwrap_or(Value::from(0));
        if replicas.as_i64().is_none_or(|replicas| replicas < 0) {
            let path = Path::new("spec").child("replicas");
            let why = "must be greater than or equal to 0";
            let complaint = FieldError::invalid(&path, replicas, why);
            return Err(Status::invalid(
                "autoscaling",
                "Scale",
                &target.name,
                vec![complaint.into()],
            ));
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), replicas);
        }
        Ok(())
    };
    let outcome = inner
        .registry
        .edit(context, target, options, true, &mut edit)
        .await?;
    Ok(Answer::Object {
        object: scale_of(&outcome.object),
        created: false,
    })
}

//! Who owns which field: the bridge to `managedFields` and server-side apply.

use super::context::{RequestContext, Target, WriteOptions};
use super::create::{check_name, default, place};
use super::patch::{PatchBody, node};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Cause, Details, Status, Value, time};
use kontiki_patch::fields::FieldSet;
use kontiki_patch::managed;
use kontiki_patch::ssa::{self, ApplyError, Writer};

/// What a write to the object or to one of its parts cannot set.
fn reset(kind: &Kind, subresource: &str) -> FieldSet {
    let mut fields = kind.strategy.unowned_fields(subresource);
    match subresource {
        "" if kind.subresource("status").is_some() => fields.push("status"),
        "" => {}
        _ if kind.custom.is_some() => fields.extend(["spec", "metadata"]),
        _ => fields.push("spec"),
    }
    let members: Vec<[&str; 1]> = fields.into_iter().map(|field| [field]).collect();
    let members: Vec<&[&str]> = members.iter().map(<[_; 1]>::as_slice).collect();
    FieldSet::of_members(&members)
}

fn with_writer<T>(
    kind: &Kind,
    context: &RequestContext,
    options: &WriteOptions,
    subresource: &str,
    work: impl FnOnce(Writer<'_>) -> T,
) -> T {
    let now = time::format(context.now);
    let api_version = kind.api_version();
    let reset = match subresource {
        "" | "status" | "approval" => reset(kind, subresource),
        _ => FieldSet::new(),
    };
    work(Writer {
        manager: &options.field_manager,
        api_version: &api_version,
        subresource,
        now: &now,
        reset: &reset,
    })
}

/// [`on_update`] for code of the server that changes an object on somebody's behalf.
pub(crate) fn note_update(
    target: &Target,
    context: &RequestContext,
    options: &WriteOptions,
    live: &Tree,
    wish: &mut Tree,
) {
    let part = &target.subresource;
    on_update(&target.kind, context, options, live, wish, part);
}

/// Notes who made the fields of a new object.
pub(crate) fn on_create(
    kind: &Kind,
    context: &RequestContext,
    options: &WriteOptions,
    tree: &mut Tree,
    subresource: &str,
) {
    let empty = ssa::empty_object(node(kind), &kind.api_version(), &kind.kind);
    let empty = empty.as_object().cloned().unwrap_or_default();
    on_update(kind, context, options, &empty, tree, subresource);
}

/// Notes who changed which fields.
pub(super) fn on_update(
    kind: &Kind,
    context: &RequestContext,
    options: &WriteOptions,
    live: &Tree,
    wish: &mut Tree,
    subresource: &str,
) {
    let old = Value::Object(live.clone());
    let new = Value::Object(std::mem::take(wish));
    let tracked = with_writer(kind, context, options, subresource, |writer| {
        ssa::track_update(node(kind), &old, &new, writer)
    });
    // A write that changes nothing keeps the old times, and so costs no revision.
    let tracked = if managed::same_but_times(&tracked, &old) {
        old
    } else {
        tracked
    };
    if let Value::Object(tree) = tracked {
        *wish = tree;
    }
}

/// Server-side apply: the object that the patch leads to.
pub(crate) fn apply(
    target: &Target,
    context: &RequestContext,
    options: &WriteOptions,
    live: Option<&Tree>,
    patch: &PatchBody,
) -> Result<Tree, Status> {
    let kind = &target.kind;
    let node = node(kind);
    let applied: Value = serde_json::from_slice(&patch.json)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    check_identity(target, &applied)?;
    let live = match live {
        Some(live) => Value::Object(live.clone()),
        None => ssa::empty_object(node, &kind.api_version(), &kind.kind),
    };
    let merged = with_writer(kind, context, options, &target.subresource, |writer| {
        ssa::apply(node, &live, &applied, writer, options.force)
    });
    let Value::Object(mut merged) = merged.map_err(|error| refused(target, &error))? else {
        return Err(Status::internal(
            "an apply led to something that is no object",
        ));
    };
    let metadata = super::create::metadata(&mut merged);
    metadata.insert("name".to_owned(), target.name.clone().into());
    let mut merged = default(kind, merged)?;
    place(target, &mut merged)?;
    let merged = Value::Object(merged);
    let merged = if managed::same_but_times(&merged, &live) {
        live
    } else {
        merged
    };
    match merged {
        Value::Object(tree) => Ok(tree),
        _ => Err(Status::internal(
            "an apply led to something that is no object",
        )),
    }
}

fn check_identity(target: &Target, applied: &Value) -> Result<(), Status> {
    let kind = &target.kind;
    let text = |field: &str| applied[field].as_str().unwrap_or_default();
    if text("apiVersion") != kind.api_version() || text("kind") != kind.kind {
        let api_version = text("apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(Status::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={}",
            text("kind")
        )));
    }
    match applied.as_object() {
        Some(tree) => check_name(target, tree),
        None => Err(Status::bad_request("an object is needed")),
    }
}

fn refused(target: &Target, error: &ApplyError) -> Status {
    match error {
        ApplyError::ManagedFieldsGiven => Status::bad_request(error.to_string()),
        ApplyError::Untyped { .. } => Status::failure(500, "", error.to_string()),
        ApplyError::Conflicts(conflicts) => {
            let mut status = Status::failure(409, "Conflict", error.to_string());
            let causes = conflicts.iter().map(|conflict| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: conflict.message(),
                field: conflict.field.clone(),
            });
            status.details = Some(Details {
                causes: causes.collect(),
                ..Details::default()
            });
            let _ = target;
            status
        }
    }
}

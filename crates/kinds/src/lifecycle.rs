//! The order of steps that a create, an update and a delete go through, as
//! upstream's `rest.BeforeCreate`, `BeforeUpdate` and `BeforeDelete`.

use crate::Tree;
use crate::field::{FieldErrors, Path};
use crate::kind::Kind;
use crate::meta;
use crate::names;
use crate::strategy::{Context, DeleteOptions, Grace};
use jiff::SignedDuration;
use kontiki_object::{Value, time};

/// Prepares and validates a new object that has its name, namespace, UID and
/// time of creation. Answers what to warn about.
///
/// # Errors
/// The complaints, for a 422.
pub fn before_create(
    kind: &Kind,
    context: &Context<'_>,
    object: &mut Tree,
) -> Result<Vec<String>, FieldErrors> {
    let strategy = &kind.strategy;
    if strategy.starts_generation() {
        set_metadata(object, "generation", 1.into());
    }
    strategy.prepare_for_create(context, object);
    let path = Path::new("metadata");
    let mut errors = meta::validate(object, kind.namespaced, strategy.name_rule(), &path);
    if strategy.metadata_checks().standard_finalizers {
        errors.extend(meta::validate_standard_finalizers(object, &path));
    }
    errors.extend(strategy.validate(context, object));
    if errors.is_empty() {
        errors = meta::validate(object, kind.namespaced, names::path_segment, &path);
    }
    if errors.is_empty() {
        Ok(strategy.warnings(object, None))
    } else {
        Err(errors)
    }
}

/// Prepares and validates a changed object; `subresource` is empty for the
/// object itself. Answers what to warn about.
///
/// # Errors
/// The complaints, for a 422.
pub fn before_update(
    kind: &Kind,
    context: &Context<'_>,
    subresource: &str,
    new: &mut Tree,
    old: &Tree,
) -> Result<Vec<String>, FieldErrors> {
    let strategy = &kind.strategy;
    copy_metadata(new, old, "generation");
    match subresource {
        "" => strategy.prepare_for_update(context, new, old),
        "status" => strategy.prepare_for_status_update(context, new, old),
        other => strategy.prepare_for_subresource_update(other, context, new, old),
    }
    if strategy.counts_generation()
        && subresource != "status"
        && strategy.changes_generation(new, old)
    {
        let generation = metadata(old, "generation").and_then(Value::as_i64);
        set_metadata(
            new,
            "generation",
            (generation.unwrap_or_default() + 1).into(),
        );
    }
    keep_system_metadata(new, old);
    let path = Path::new("metadata");
    let mut errors = meta::validate(new, kind.namespaced, names::path_segment, &path);
    errors.extend(meta::validate_update(new, old, &path));
    errors.extend(repeated_metadata_checks(kind, subresource, new, old));
    errors.extend(match subresource {
        "" => strategy.validate_update(context, new, old),
        "status" => strategy.validate_status_update(context, new, old),
        other => strategy.validate_subresource_update(other, context, new, old),
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(match subresource {
        "" => strategy.warnings(new, Some(old)),
        _ => Vec::new(),
    })
}

/// Upstream's kinds check metadata themselves although every update does, and
/// tell what they find as causes of their own.
fn repeated_metadata_checks(kind: &Kind, subresource: &str, new: &Tree, old: &Tree) -> FieldErrors {
    let checks = kind.strategy.metadata_checks();
    let path = Path::new("metadata");
    let mut errors = FieldErrors::new();
    if checks.again_on_update {
        errors.extend(meta::validate_update(new, old, &path));
        if checks.standard_finalizers {
            errors.extend(meta::validate_standard_finalizers(new, &path));
        }
    }
    if checks.as_new_on_update && subresource.is_empty() {
        let rule = kind.strategy.name_rule();
        errors.extend(meta::validate(new, kind.namespaced, rule, &path));
        if checks.standard_finalizers {
            errors.extend(meta::validate_standard_finalizers(new, &path));
        }
    }
    errors
}

/// What a deletion leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object can go now (unless finalizers hold it).
    Immediate,
    /// The object was marked as terminating, or its grace period shortened: store it.
    Graceful,
    /// It is terminating already and nothing changes.
    Pending,
}

/// Marks an object as terminating if its kind deletes with grace.
pub fn before_delete(
    kind: &Kind,
    context: &Context<'_>,
    object: &mut Tree,
    mut options: DeleteOptions,
) -> Deletion {
    // A negative period means "as soon as possible, but with grace".
    options.grace_period_seconds = options
        .grace_period_seconds
        .map(|seconds| if seconds < 0 { 1 } else { seconds });
    if metadata(object, "deletionTimestamp").is_some() {
        return shorten(context, object, options);
    }
    match kind.strategy.grace(object, options) {
        Grace::Immediate => Deletion::Immediate,
        Grace::Seconds(seconds) => {
            mark_terminating(context, object, seconds);
            graceful(seconds)
        }
    }
}

/// Sets the time and grace period of a deletion and counts the generation up.
pub fn mark_terminating(context: &Context<'_>, object: &mut Tree, seconds: i64) {
    let at = context.now + SignedDuration::from_secs(seconds);
    set_metadata(object, "deletionTimestamp", time::format(at).into());
    set_metadata(object, "deletionGracePeriodSeconds", seconds.into());
    let generation = metadata(object, "generation").and_then(Value::as_i64);
    if let Some(generation) = generation.filter(|generation| *generation > 0) {
        set_metadata(object, "generation", (generation + 1).into());
    }
}

/// A grace period that runs can only become shorter.
fn shorten(context: &Context<'_>, object: &mut Tree, options: DeleteOptions) -> Deletion {
    let current = metadata(object, "deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let Some(at) = metadata(object, "deletionTimestamp")
        .and_then(Value::as_str)
        .and_then(time::parse)
        .filter(|_| current != 0)
    else {
        return Deletion::Immediate;
    };
    let Some(mut seconds) = options.grace_period_seconds.filter(|wish| *wish < current) else {
        return Deletion::Pending;
    };
    let mut earlier = at - SignedDuration::from_secs(current) + SignedDuration::from_secs(seconds);
    if earlier < context.now {
        earlier = context.now;
        // Still with grace: somebody else finishes the deletion with zero seconds.
        seconds = seconds.min(1);
    }
    set_metadata(object, "deletionTimestamp", time::format(earlier).into());
    set_metadata(object, "deletionGracePeriodSeconds", seconds.into());
    graceful(seconds)
}

/// Without seconds left nobody is waited for; the marks stay on the object in
/// case finalizers hold it.
fn graceful(seconds: i64) -> Deletion {
    if seconds == 0 {
        Deletion::Immediate
    } else {
        Deletion::Graceful
    }
}

fn metadata<'a>(object: &'a Tree, field: &str) -> Option<&'a Value> {
    object
        .get("metadata")?
        .get(field)
        .filter(|value| !value.is_null())
}

fn set_metadata(object: &mut Tree, field: &str, value: Value) {
    if let Some(meta) = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Tree::new()))
        .as_object_mut()
    {
        meta.insert(field.to_owned(), value);
    }
}

fn copy_metadata(new: &mut Tree, old: &Tree, field: &str) {
    crate::strategy::keep_metadata(new, old, field);
}

fn keep_system_metadata(new: &mut Tree, old: &Tree) {
    let unset = |tree: &Tree, field: &str| match metadata(tree, field) {
        None => true,
        Some(value) => value == "",
    };
    if unset(new, "uid") {
        copy_metadata(new, old, "uid");
    }
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if !unset(old, field) {
            copy_metadata(new, old, field);
        }
    }
    let grace = "deletionGracePeriodSeconds";
    if unset(new, grace) && !unset(old, grace) {
        copy_metadata(new, old, grace);
    }
}

#[cfg(test)]
mod tests;

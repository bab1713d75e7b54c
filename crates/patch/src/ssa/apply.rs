//! Applying a configuration.

use std::collections::BTreeMap;

use kontiki_schema::node::Node;
use serde_json::{Value, json};
use thiserror::Error;

use super::conflict::{self, Conflict};
use super::{Writer, drop_empty, strip_owned, track};
use crate::fields::FieldSet;
use crate::managed::{self, Managed, Manager, Operation, Owned};
use crate::typed::{compare, field_set, merge_typed, remove, validate};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations may be this long together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Who owns what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Why a configuration was not applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// The configuration says who owns what: 400.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsGiven,
    /// The configuration does not fit the type: 500, as upstream answers.
    #[error("failed to create typed patch object ({name}; {gvk}): {errors}")]
    Untyped {
        /// Namespace and name.
        name: String,
        /// `apps/v1, Kind=Deployment`.
        gvk: String,
        /// What does not fit.
        errors: String,
    },
    /// Others own fields that the configuration changes: 409 with causes.
    #[error("{}", conflict::message(.0))]
    Conflicts(Vec<Conflict>),
}

/// Merges `applied` into `live` on behalf of the writer. With `force` it takes
/// fields from their owners; without, that is a conflict.
///
/// # Errors
/// When the configuration does not fit or is in conflict.
pub fn apply(
    node: Node<'_>,
    live: &Value,
    applied: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    if applied
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApplyError::ManagedFieldsGiven);
    }
    validate(node, applied).map_err(|errors| untyped(applied, writer.api_version, errors))?;
    let mut managed = managed::decode(live).unwrap_or_default();
    let mut bare = live.clone();
    managed::strip(&mut bare);
    if managed.is_empty() {
        before_first_apply(node, &bare, &mut managed, writer);
    }
    let manager = writer.manager(Operation::Apply);
    let mut outcome = merge_and_own(
        node,
        &bare,
        applied,
        managed.clone(),
        &manager,
        writer,
        force,
    );
    if let Err(conflicts) = &outcome
        && writer.manager == "kubectl"
    {
        outcome = upgrade(node, &bare, applied, managed, &manager, writer, conflicts);
    }
    let (mut merged, managed) =
        outcome.map_err(|sets| ApplyError::Conflicts(conflict::list(&sets)))?;
    if writer.manager == "kubectl" {
        update_last_applied(&mut merged, applied);
    }
    managed::encode(&mut merged, &managed);
    Ok(merged)
}

fn untyped(applied: &Value, api_version: &str, errors: String) -> ApplyError {
    let text = |pointer: &str| {
        applied
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let version = if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    };
    ApplyError::Untyped {
        name: format!("{}/{}", text("/metadata/namespace"), text("/metadata/name")),
        gvk: format!("{version}, Kind={}", text("/kind")),
        errors,
    }
}

/// What an object held before its first apply belongs to a manager of its own,
/// so that it cannot be overwritten unnoticed.
fn before_first_apply(node: Node<'_>, live: &Value, managed: &mut Managed, writer: Writer<'_>) {
    let kind = live["kind"].as_str().unwrap_or_default();
    let empty = super::empty_object(node, writer.api_version, kind);
    let earlier = Writer {
        manager: BEFORE_FIRST_APPLY,
        ..writer
    };
    track::own_changes(node, &empty, live, managed, earlier);
}

type Sets = BTreeMap<Manager, FieldSet>;

/// One attempt: the merged object and the new owners, or the conflicts.
fn merge_and_own(
    node: Node<'_>,
    live: &Value,
    applied: &Value,
    mut managed: Managed,
    manager: &Manager,
    writer: Writer<'_>,
    force: bool,
) -> Result<(Value, Managed), Sets> {
    let last = managed.get(manager).cloned();
    let fields = field_set(node, applied).difference_below(writer.reset);
    let time = last.as_ref().and_then(|owned| owned.time.clone());
    managed.insert(
        manager.clone(),
        Owned {
            fields,
            api_version: writer.api_version.to_owned(),
            time,
        },
    );
    let mut merged = merge_typed(node, live, applied);
    if let Some(last) = &last {
        merged = prune(node, merged, &managed, &last.fields);
    }
    let comparison = compare(node, live, &merged).without(writer.reset);
    let changed = comparison.modified.union(&comparison.added);
    let conflicts: Sets = managed
        .iter()
        .filter(|(other, _)| *other != manager)
        .map(|(other, owned)| (other.clone(), owned.fields.intersection(&changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    for (other, owned) in managed.iter_mut().filter(|(other, _)| *other != manager) {
        if let Some(taken) = conflicts.get(other) {
            owned.fields = owned.fields.difference(taken);
        }
        owned.fields = owned.fields.difference(&comparison.removed);
    }
    drop_empty(&mut managed);
    strip_owned(&mut managed, manager);
    if crate::typed::differ(live, &merged)
        && let Some(owned) = managed.get_mut(manager)
    {
        owned.time = Some(writer.now.to_owned());
    }
    Ok((merged, managed))
}

/// Takes out what the manager applied before, applies no more, and nobody else
/// owns.
fn prune(node: Node<'_>, merged: Value, managed: &Managed, last: &FieldSet) -> Value {
    if last.is_empty() {
        return merged;
    }
    let all = field_set(node, &merged).with_named_members(node);
    let pruned = remove(node, &merged, &last.with_named_members(node));
    let kept = field_set(node, &pruned).with_named_members(node);
    // Add back what anybody, the applier included, owns now.
    let owned = managed
        .values()
        .fold(FieldSet::new(), |owned, entry| owned.union(&entry.fields));
    let owned = owned.with_named_members(node);
    let pruned = remove(node, &merged, &all.difference(&kept.union(&owned)));
    // Add back what lay below pruned fields and was never the manager's.
    let kept = field_set(node, &pruned).with_named_members(node);
    remove(
        node,
        &merged,
        &all.difference(&kept)
            .intersection(&last.with_named_members(node)),
    )
}

/// The first server-side apply of kubectl after client-side ones: conflicts
/// about what the client-side apply itself had set are none.
fn upgrade(
    node: Node<'_>,
    live: &Value,
    applied: &Value,
    managed: Managed,
    manager: &Manager,
    writer: Writer<'_>,
    conflicts: &Sets,
) -> Result<(Value, Managed), Sets> {
    let allowed = allowed_conflicts(node, live);
    let left: Sets = conflicts
        .iter()
        .map(|(other, fields)| (other.clone(), fields.difference(&allowed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !left.is_empty() {
        return Err(left);
    }
    merge_and_own(node, live, applied, managed, manager, writer, true)
}

fn last_applied(object: &Value) -> Option<&str> {
    let annotations = object.pointer("/metadata/annotations")?;
    annotations
        .get(LAST_APPLIED)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// The fields that still have the value which was applied client-side.
fn allowed_conflicts(node: Node<'_>, live: &Value) -> FieldSet {
    let Some(last) = last_applied(live).and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return FieldSet::new();
    };
    if validate(node, &last).is_err() {
        return FieldSet::new();
    }
    field_set(node, &last).difference(&compare(node, &last, live).modified)
}

/// Keeps kubectl's annotation in step, so that client-side apply still works.
fn update_last_applied(merged: &mut Value, applied: &Value) {
    if last_applied(merged).is_none() {
        return;
    }
    let mut bare = applied.clone();
    if let Some(annotations) = bare
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    let Some(annotations) = merged
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.insert(LAST_APPLIED.to_owned(), json!(format!("{bare}\n")));
    let size: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

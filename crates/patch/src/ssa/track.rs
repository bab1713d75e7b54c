//! Ownership after writes that are no apply.

use kontiki_schema::node::Node;
use serde_json::{Value, json};

use super::{Writer, drop_empty, strip_owned};
use crate::fields::FieldSet;
use crate::managed::{self, Managed, Manager, Operation, Owned};
use crate::typed::compare;

/// Beyond this many updaters, the oldest are remembered as one.
pub const UPDATE_MANAGERS_MAX: usize = 10;

const ANCIENT_CHANGES: &str = "ancient-changes";

/// The new object with its owners after the writer changed `old` into it.
///
/// A client that leaves out `managedFields` keeps them; one that sends a
/// single empty entry resets them; any other valid list is taken as it is.
#[must_use]
pub fn track_update(node: Node<'_>, old: &Value, new: &Value, writer: Writer<'_>) -> Value {
    let mut managed = starting_point(old, new, writer);
    let (mut old, mut new) = (old.clone(), new.clone());
    managed::strip(&mut old);
    managed::strip(&mut new);
    // An object that nobody is recorded for stays so until it is applied to.
    let exists = old
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .is_some_and(|uid| !uid.is_empty());
    if !(exists && managed.is_empty()) {
        own_changes(node, &old, &new, &mut managed, writer);
        cap(&mut managed);
    }
    managed::encode(&mut new, &managed);
    new
}

fn starting_point(old: &Value, new: &Value, writer: Writer<'_>) -> Managed {
    let from_old = || managed::decode(old).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return from_old();
    }
    let given = new.pointer("/metadata/managedFields");
    if given.is_some_and(is_reset) {
        return Managed::new();
    }
    match managed::decode(new) {
        Some(managed) if !managed.is_empty() => managed,
        _ => from_old(),
    }
}

/// A single entry in which nothing is set.
fn is_reset(entries: &Value) -> bool {
    let empty = |value: &Value| value.is_null() || *value == json!("");
    match entries.as_array().map(Vec::as_slice) {
        Some([entry]) => entry
            .as_object()
            .is_some_and(|entry| entry.values().all(empty)),
        _ => false,
    }
}

/// Gives every changed field to the writer and takes it from the others.
pub(super) fn own_changes(
    node: Node<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    writer: Writer<'_>,
) {
    let comparison = compare(node, old, new).without(writer.reset);
    let changed = comparison.modified.union(&comparison.added);
    for owned in managed.values_mut() {
        owned.fields = owned
            .fields
            .difference(&changed)
            .difference(&comparison.removed);
    }
    drop_empty(managed);
    let manager = writer.manager(Operation::Update);
    let mut operation = Managed::new();
    let own = Owned {
        fields: changed.difference(&comparison.removed),
        api_version: writer.api_version.to_owned(),
        time: Some(writer.now.to_owned()),
    };
    operation.insert(manager.clone(), own);
    strip_owned(&mut operation, &manager);
    if let Some(own) = operation.remove(&manager) {
        let before = managed
            .get(&manager)
            .map_or_else(FieldSet::new, |owned| owned.fields.clone());
        managed.insert(
            manager,
            Owned {
                fields: own.fields.union(&before),
                ..own
            },
        );
    }
}

/// Merges the oldest updaters of each version into one.
fn cap(managed: &mut Managed) {
    let mut updaters: Vec<(Option<String>, Manager)> = managed
        .iter()
        .filter(|(manager, _)| manager.operation == Operation::Update)
        .map(|(manager, owned)| (owned.time.clone(), manager.clone()))
        .collect();
    updaters.sort();
    let mut left = updaters.len();
    let mut first_of_version: std::collections::HashMap<String, Manager> =
        std::collections::HashMap::new();
    for (time, manager) in updaters {
        if left <= UPDATE_MANAGERS_MAX {
            break;
        }
        let version = manager.api_version.clone();
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, manager);
            continue;
        };
        let bucket = Manager {
            name: ANCIENT_CHANGES.to_owned(),
            operation: Operation::Update,
            api_version: version.clone(),
            subresource: String::new(),
        };
        if !managed.contains_key(&bucket)
            && let Some(owned) = managed.remove(first)
        {
            managed.insert(bucket.clone(), owned);
        }
        if manager != bucket
            && let Some(merged) = managed.remove(&manager)
            && let Some(owned) = managed.get_mut(&bucket)
        {
            owned.fields = owned.fields.union(&merged.fields);
            owned.time = time;
            left -= 1;
        }
    }
}

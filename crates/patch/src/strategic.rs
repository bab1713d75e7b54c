//! Strategic merge patch: a merge patch that knows, from the schema, which
//! lists merge and by which key, and obeys the directives in it.
//!
//! `$patch: replace | delete | merge`, `$retainKeys`, `$setElementOrder/list`
//! and `$deleteFromPrimitiveList/list`.

mod list;

#[cfg(test)]
mod tests;

use kontiki_schema::node::{Node, Shape};
use serde_json::{Map, Value};

use crate::PatchError;
use crate::fields::{Step, next};
use crate::merge::{go_kind, read_object};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to a copy of a built-in object.
///
/// # Errors
/// When the patch cannot be read, a directive makes no sense, or the patch
/// does not fit the type.
pub fn strategic_merge_patch(
    node: Node<'_>,
    object: &Value,
    patch: &[u8],
) -> Result<Value, PatchError> {
    let patch = read_object(patch).map_err(|error| match error {
        // This reader tells no more than the decoder does.
        PatchError::Malformed(text) => {
            PatchError::Malformed(text.trim_start_matches("error decoding patch: ").to_owned())
        }
        other => other,
    })?;
    let original = object.as_object().cloned().unwrap_or_default();
    let whole = go_format(&Value::Object(patch.clone()));
    fits(node, &patch, &whole)?;
    Ok(Value::Object(members(node, original, patch)?))
}

/// A list or map where the type has the other cannot be read back.
fn fits(node: Node<'_>, patch: &Map<String, Value>, whole: &str) -> Result<(), PatchError> {
    let unfit = |detail: &str| PatchError::Unfit {
        patch: whole.to_owned(),
        detail: detail.to_owned(),
    };
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let inner = next(node, &Step::field(name));
        match (inner.shape(), value) {
            (Shape::List, Value::Object(_)) => return Err(unfit("cannot restore slice from map")),
            (Shape::List, Value::String(_)) => {
                return Err(unfit("cannot restore slice from string"));
            }
            (Shape::Struct, Value::Array(_)) => {
                return Err(unfit("cannot restore struct from: slice"));
            }
            (Shape::Map, Value::Array(_)) => return Err(unfit("cannot restore map from slice")),
            (Shape::Struct | Shape::Map, Value::Object(members)) => fits(inner, members, whole)?,
            (Shape::List, Value::Array(items)) => {
                for item in items.iter().filter_map(Value::as_object) {
                    fits(inner.item(), item, whole)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

type Members = Map<String, Value>;

fn internal(text: String) -> PatchError {
    PatchError::Internal(text)
}

/// Merges the members of `patch` into those of `original`.
pub(super) fn members(
    node: Node<'_>,
    mut original: Members,
    mut patch: Members,
) -> Result<Members, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => return Ok(patch),
            Some("delete") => return Ok(Members::new()),
            Some("merge") => {}
            _ => {
                patch.insert(PATCH.to_owned(), directive.clone());
                return Err(unknown_directive(&directive, &patch));
            }
        }
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(node, &mut original, &mut patch)?;
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE) {
            delete_from(&mut original, list, &value)?;
            continue;
        }
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let inner = next(node, &Step::field(&name));
        let merged = match (original.remove(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !inner.patch_strategies().replace => {
                Value::Object(members(inner, old, new)?)
            }
            (Some(Value::Array(old)), Value::Array(new)) if inner.patch_strategies().merge => {
                Value::Array(list::merge(inner, old, new)?)
            }
            (_, Value::Array(new)) if inner.patch_strategies().merge => {
                Value::Array(list::plain(new))
            }
            (_, new) => without_directives(new),
        };
        original.insert(name, merged);
    }
    Ok(original)
}

pub(super) fn unknown_directive(directive: &Value, patch: &Members) -> PatchError {
    internal(format!(
        "unknown patch type: {} in map: {}",
        go_format(directive),
        go_format(&Value::Object(patch.clone()))
    ))
}

/// `$retainKeys`: members of the original that it does not name go.
fn retain_keys(original: &mut Members, patch: &mut Members) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let bad = || internal("invalid patch format of retainKeys".to_owned());
    let retained = retained.as_array().ok_or_else(bad)?;
    let names = |name: &str| retained.iter().any(|kept| kept.as_str() == Some(name));
    if patch
        .keys()
        .any(|name| !name.starts_with('$') && !names(name))
    {
        return Err(bad());
    }
    original.retain(|name, _| names(name));
    Ok(())
}

fn delete_from(original: &mut Members, list: &str, values: &Value) -> Result<(), PatchError> {
    let values = as_list(values)?;
    if let Some(Value::Array(items)) = original.get_mut(list) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

pub(super) fn as_list(value: &Value) -> Result<&Vec<Value>, PatchError> {
    value.as_array().ok_or_else(|| {
        internal(format!(
            "expected a []interface {{}}, but received a {}",
            go_word(value)
        ))
    })
}

fn go_word(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "map[string]interface {}",
        Value::Number(_) => "float64",
        other => go_kind(other),
    }
}

/// `$setElementOrder/list`: merges the list and puts it in that order.
fn order_lists(
    node: Node<'_>,
    original: &mut Members,
    patch: &mut Members,
) -> Result<(), PatchError> {
    let lists: Vec<String> = patch
        .keys()
        .filter_map(|name| Some(name.strip_prefix(ORDER)?.to_owned()))
        .collect();
    for name in lists {
        let order = patch.remove(&format!("{ORDER}{name}")).unwrap_or_default();
        let order = as_list(&order)?.clone();
        let inner = next(node, &Step::field(&name));
        if let Some(deleted) = patch.remove(&format!("{DELETE}{name}")) {
            delete_from(original, &name, &deleted)?;
        }
        let patched = match patch.remove(&name) {
            Some(Value::Null) => {
                original.remove(&name);
                continue;
            }
            Some(value) => as_list(&value)?.clone(),
            None => Vec::new(),
        };
        list::check_order(inner, &patched, &order)?;
        let old = match original.remove(&name) {
            Some(Value::Array(old)) => old,
            _ => Vec::new(),
        };
        let merged = list::merge_in_order(inner, old, patched, &order)?;
        original.insert(name, Value::Array(merged));
    }
    Ok(())
}

/// What a patch says where the original has nothing: no directives, no nulls.
pub(super) fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(name, value)| !value.is_null() && !is_directive(name))
                .map(|(name, value)| (name, without_directives(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .filter(|item| !has_directive(item))
                .map(without_directives)
                .collect(),
        ),
        other => other,
    }
}

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN_KEYS || name.starts_with(ORDER) || name.starts_with(DELETE)
}

/// Whether the item only says what to do with an item.
pub(super) fn has_directive(item: &Value) -> bool {
    item.get(PATCH)
        .is_some_and(|directive| directive != "merge")
}

/// Go's `%v` of a decoded value: `map[a:1 b:[x y]]`.
pub(super) fn go_format(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_format).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name}:{}", go_format(value)))
                .collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

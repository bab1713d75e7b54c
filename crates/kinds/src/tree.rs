//! Reading and changing JSON trees without ceremony. Values of the wrong type
//! count as absent: types are checked before an object gets here.

use crate::Tree;
use kontiki_object::Value;

/// A text; empty if absent.
pub(crate) fn text<'a>(tree: &'a Tree, field: &str) -> &'a str {
    tree.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number.
pub(crate) fn number(tree: &Tree, field: &str) -> Option<i64> {
    tree.get(field).and_then(Value::as_i64)
}

/// A boolean.
pub(crate) fn flag(tree: &Tree, field: &str) -> Option<bool> {
    tree.get(field).and_then(Value::as_bool)
}

/// A list; empty if absent.
pub(crate) fn list<'a>(tree: &'a Tree, field: &str) -> &'a [Value] {
    tree.get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The maps of a list.
pub(crate) fn maps<'a>(tree: &'a Tree, field: &str) -> impl Iterator<Item = &'a Tree> {
    list(tree, field).iter().filter_map(Value::as_object)
}

/// The texts of a list.
pub(crate) fn texts<'a>(tree: &'a Tree, field: &str) -> impl Iterator<Item = &'a str> {
    list(tree, field).iter().filter_map(Value::as_str)
}

/// A map.
pub(crate) fn map<'a>(tree: &'a Tree, field: &str) -> Option<&'a Tree> {
    tree.get(field).and_then(Value::as_object)
}

/// A map some levels down.
pub(crate) fn map_at<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a Tree> {
    path.iter().try_fold(tree, |tree, field| map(tree, field))
}

/// A value some levels down.
pub(crate) fn at<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    map_at(tree, parents)?
        .get(*last)
        .filter(|value| !value.is_null())
}

/// A text some levels down; empty if absent.
pub(crate) fn text_at<'a>(tree: &'a Tree, path: &[&str]) -> &'a str {
    at(tree, path).and_then(Value::as_str).unwrap_or_default()
}

/// A number some levels down; 0 if absent.
pub(crate) fn number_at(tree: &Tree, path: &[&str]) -> i64 {
    at(tree, path).and_then(Value::as_i64).unwrap_or_default()
}

/// A list some levels down; empty if absent.
pub(crate) fn list_at<'a>(tree: &'a Tree, path: &[&str]) -> &'a [Value] {
    at(tree, path)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether a field is absent, null or empty text.
pub(crate) fn unset(tree: &Tree, field: &str) -> bool {
    match tree.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

/// Sets a field that is not set.
pub(crate) fn default(tree: &mut Tree, field: &str, value: impl Into<Value>) {
    if unset(tree, field) {
        tree.insert(field.to_owned(), value.into());
    }
}

/// Sets a number that is not set or zero.
pub(crate) fn default_nonzero(tree: &mut Tree, field: &str, value: i64) {
    if number(tree, field).unwrap_or_default() == 0 {
        tree.insert(field.to_owned(), value.into());
    }
}

/// A map to change, if it is there.
pub(crate) fn map_mut<'a>(tree: &'a mut Tree, field: &str) -> Option<&'a mut Tree> {
    tree.get_mut(field).and_then(Value::as_object_mut)
}

/// A map to change, made if it is not there.
pub(crate) fn make<'a>(tree: &'a mut Tree, field: &str) -> &'a mut Tree {
    let value = tree.entry(field).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Tree::new());
    }
    value.as_object_mut().expect("it was just made a map")
}

/// A map some levels down to change, if it is there.
pub(crate) fn map_mut_at<'a>(tree: &'a mut Tree, path: &[&str]) -> Option<&'a mut Tree> {
    path.iter()
        .try_fold(tree, |tree, field| map_mut(tree, field))
}

/// The maps of a list to change.
pub(crate) fn maps_mut<'a>(tree: &'a mut Tree, field: &str) -> impl Iterator<Item = &'a mut Tree> {
    tree.get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

//! List maps and sets hold no item twice.

use crate::schema::{Additional, ListType, Structural};
use crate::validate::same;
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::{Map, Value};
use std::collections::HashSet;

/// Complaints about items that occur twice. What is equal to `old` is left alone.
#[must_use]
pub fn duplicates(schema: &Structural, value: &Value, old: Option<&Value>) -> FieldErrors {
    let mut out = FieldErrors::new();
    walk(schema, value, old, &Path::root(), &mut out);
    out
}

fn walk(
    schema: &Structural,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
    out: &mut FieldErrors,
) {
    if old.is_some_and(|old| same(old, value)) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let old = old.and_then(|old| old.get(name));
                match (schema.properties.get(name), &schema.additional) {
                    (Some(inner), _) => walk(inner, value, old, &path.child(name), out),
                    (None, Additional::Schema(inner)) => {
                        walk(inner, value, old, &path.key(name), out);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            check(schema, items, path, out);
            if let Some(inner) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    let old = crate::validate::old_item(schema, item, old);
                    walk(inner, item, old, &path.index(at), out);
                }
            }
        }
        _ => {}
    }
}

fn check(schema: &Structural, items: &[Value], path: &Path, out: &mut FieldErrors) {
    if schema.list_type == ListType::Atomic {
        return;
    }
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let identity = match schema.list_type {
            ListType::Map => match keys(schema, item) {
                Some(keys) => Value::Object(keys),
                None => continue,
            },
            _ => item.clone(),
        };
        if !seen.insert(identity.to_string()) {
            out.push(FieldError::duplicate(&path.index(at), identity));
        }
    }
}

fn keys(schema: &Structural, item: &Value) -> Option<Map<String, Value>> {
    let item = item.as_object()?;
    let properties = schema.items.as_deref().map(|inner| &inner.properties);
    let mut keys = Map::new();
    for name in &schema.list_map_keys {
        let default = properties
            .and_then(|properties| properties.get(name))
            .and_then(|property| property.default.as_ref());
        if let Some(value) = item.get(name).or(default) {
            keys.insert(name.clone(), value.clone());
        }
    }
    Some(keys)
}

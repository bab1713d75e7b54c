//! Bringing objects into shape: unknown members go, defaults come.

use crate::schema::{Additional, Structural};
use kontiki_object::{Map, Value};

/// What every object has, whatever its schema says.
const OF_OBJECTS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes members that the schema does not know; `is_resource` where the
/// value is a whole object.
pub fn prune(schema: &Structural, value: &mut Value, is_resource: bool) {
    match value {
        Value::Object(members) => prune_members(schema, members, is_resource),
        Value::Array(items) => match &schema.items {
            Some(schema) => items
                .iter_mut()
                .for_each(|item| prune(schema, item, schema.is_embedded)),
            None if schema.preserves_unknown => {}
            None => items
                .iter_mut()
                .for_each(|item| prune(&Structural::default(), item, false)),
        },
        _ => {}
    }
}

fn prune_members(schema: &Structural, members: &mut Map<String, Value>, is_resource: bool) {
    let is_resource = is_resource || schema.is_embedded;
    let is_own = |name: &str| is_resource && OF_OBJECTS.contains(&name);
    if !schema.keeps_members() {
        members.retain(|name, _| is_own(name) || schema.properties.contains_key(name));
    }
    for (name, value) in members {
        if is_own(name) {
            continue;
        }
        match (schema.properties.get(name), &schema.additional) {
            (Some(schema), _) => prune(schema, value, schema.is_embedded),
            (None, Additional::Schema(schema)) => prune(schema, value, schema.is_embedded),
            _ => {}
        }
    }
}

/// Fills in defaults; a null that may not be one counts as absent.
pub fn default(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                let is_absent = members
                    .get(name)
                    .is_none_or(|value| value.is_null() && !property.nullable);
                if is_absent {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    fill(schema, value);
                    self::default(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for item in items {
                    fill(schema, item);
                    default(schema, item);
                }
            }
        }
        _ => {}
    }
}

/// A null that may not be one becomes the default of its place.
fn fill(schema: &Structural, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
}

/// Removes nulls where none may be and no default took their place.
pub fn drop_nulls(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                !(value.is_null() && schema.member(name).is_some_and(|schema| !schema.nullable))
            });
            for (name, value) in members {
                if let Some(schema) = schema.member(name) {
                    drop_nulls(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(schema, item));
            }
        }
        _ => {}
    }
}

//! Whether the protobuf form keeps all of an object.

use serde_json::Value;

use crate::table::{Form, Type, TypeRef, ValueType};

/// Whether every member that the object sets has a protobuf tag. Members that
/// are newer than the protobuf sources have none: an object that uses one is
/// to be stored as JSON, or it would lose it.
#[must_use]
pub fn is_complete(ty: TypeRef, value: &Value) -> bool {
    keeps(ty, value, true)
}

/// The envelope carries `apiVersion` and `kind` of the object itself, and of no
/// other (the claim templates of a stateful set).
fn keeps(ty: TypeRef, value: &Value, is_root: bool) -> bool {
    let described: &Type = &ty;
    if described.form != Form::Object {
        return true;
    }
    described.has_protobuf
        && value
            .as_object()
            .into_iter()
            .flatten()
            .all(|(name, value)| match described.field(name) {
                None => true,
                Some(field) if field.tags.is_empty() => {
                    (is_root && matches!(field.name, "apiVersion" | "kind")) || value.is_null()
                }
                Some(field) => of_value(&field.ty, value),
            })
}

fn of_value(ty: &ValueType, value: &Value) -> bool {
    match (ty, value) {
        (ValueType::Type(ty), value) => keeps(*ty, value, false),
        (ValueType::List(inner), Value::Array(items)) => {
            items.iter().all(|item| of_value(inner, item))
        }
        (ValueType::Map(inner), Value::Object(entries)) => {
            entries.values().all(|item| of_value(inner, item))
        }
        _ => true,
    }
}

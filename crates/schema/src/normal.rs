//! The form in which the API serves and compares objects: no unknown members,
//! no nulls but those that Go's types show, canonical quantities and times, and
//! no member that is empty and may be left out.

use jiff::Timestamp;
use kontiki_object::Quantity;
use serde_json::{Map, Value};

use crate::table::{Form, Presence, Type, TypeRef, ValueType};

/// Brings an object of a built-in type into its served form. Values of a wrong
/// type stay as they are: [`crate::strict::check_types`] names them.
pub fn normalise(ty: TypeRef, value: &mut Value) {
    by_form(ty, value);
}

/// Whether `omitempty` leaves the value out.
#[must_use]
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// What JSON shows for a member of that type that nothing set.
#[must_use]
pub fn zero(ty: &ValueType) -> Value {
    match ty {
        ValueType::Bool => Value::Bool(false),
        ValueType::Int32 | ValueType::Int64 | ValueType::Double => Value::from(0),
        ValueType::String => Value::String(String::new()),
        ValueType::Type(ty) => match ty.form {
            Form::Quantity => Value::String("0".to_owned()),
            Form::IntOrString => Value::from(0),
            Form::SchemaOrBool => Value::Bool(false),
            _ => Value::Null,
        },
        ValueType::Bytes
        | ValueType::Any
        | ValueType::List(_)
        | ValueType::WrappedList(_)
        | ValueType::Map(_) => Value::Null,
    }
}

/// Adds the members that are always shown and are missing.
pub(crate) fn complete(ty: &Type, object: &mut Map<String, Value>) {
    for at in &ty.always {
        let field = &ty.fields[*at];
        if object.contains_key(field.name) {
            continue;
        }
        let value = match (field.presence, &field.ty) {
            (Presence::Value, ValueType::Type(inner)) if inner.form == Form::Object => {
                let mut members = Map::new();
                complete(inner, &mut members);
                Value::Object(members)
            }
            (_, ty) => zero(ty),
        };
        object.insert(field.name.to_owned(), value);
    }
}

fn by_form(ty: TypeRef, value: &mut Value) {
    match ty.form {
        Form::Object => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            if let Value::Object(object) = value {
                members(&ty, object);
            }
        }
        Form::Quantity => {
            let text = match value {
                Value::String(text) => text.parse::<Quantity>(),
                Value::Number(number) => number.to_string().parse(),
                _ => return,
            };
            if let Ok(quantity) = text {
                *value = Value::String(quantity.to_string());
            }
        }
        Form::Time => rewrite_time(value, kontiki_object::time::format),
        Form::MicroTime => rewrite_time(value, kontiki_object::time::format_micro),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            let schema = crate::Schema::get()
                .type_by_name(SCHEMA_PROPS)
                .expect("the table has JSONSchemaProps");
            match value {
                Value::Object(_) => by_form(schema, value),
                Value::Array(items) => items
                    .iter_mut()
                    .filter(|item| item.is_object())
                    .for_each(|item| by_form(schema, item)),
                _ => {}
            }
        }
        Form::IntOrString | Form::RawExtension | Form::Json | Form::FieldsV1 | Form::Any => {}
    }
}

const SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

fn rewrite_time(value: &mut Value, format: fn(Timestamp) -> String) {
    if let Some(time) = value.as_str().and_then(kontiki_object::time::parse) {
        *value = Value::String(format(time));
    }
}

fn members(ty: &Type, object: &mut Map<String, Value>) {
    object.retain(|name, value| {
        let Some(field) = ty.field(name) else {
            return false;
        };
        if value.is_null() {
            return false;
        }
        by_type(&field.ty, value);
        field.presence != Presence::OmitEmpty || !is_empty(value)
    });
    complete(ty, object);
}

fn by_type(ty: &ValueType, value: &mut Value) {
    match (ty, value) {
        (ValueType::Type(ty), value) => by_form(*ty, value),
        (ValueType::List(inner) | ValueType::WrappedList(inner), Value::Array(items)) => {
            for item in items {
                item_of(inner, item);
            }
        }
        (ValueType::Map(inner), Value::Object(entries)) => {
            for (_, item) in entries.iter_mut() {
                item_of(inner, item);
            }
        }
        _ => {}
    }
}

/// An item keeps its place: `null` becomes its zero value.
fn item_of(ty: &ValueType, item: &mut Value) {
    if item.is_null() {
        *item = zero(ty);
    }
    by_type(ty, item);
}

#[cfg(test)]
mod tests;

//! Structural schemas as types of CEL.

use crate::schema::{Additional, Form, Structural};
use kontiki_cel::{ObjectType, Type, escape};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest request, in bytes: what bounds values that no schema bounds.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// The type of values of a schema; `is_resource` where they are whole objects.
pub(crate) fn of(schema: &Structural, is_resource: bool) -> Type {
    if schema.is_int_or_string {
        return Type::Dyn;
    }
    let is_resource = is_resource || schema.is_embedded;
    match schema.form {
        None => Type::Dyn,
        Some(Form::Boolean) => Type::Bool,
        Some(Form::Integer) => Type::Int,
        Some(Form::Number) => Type::Double,
        Some(Form::String) => match &*schema.checks.format {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String(Some(longest(schema))),
        },
        Some(Form::Array) => {
            let Some(inner) = &schema.items else {
                return Type::Dyn;
            };
            let max = schema.checks.max_items;
            let max = max.unwrap_or(REQUEST_BYTES_MAX / (smallest(inner) + 1));
            Type::List(Box::new(of(inner, false)), Some(max))
        }
        Some(Form::Object) => match &schema.additional {
            Additional::Schema(inner) if schema.properties.is_empty() => {
                let max = schema.checks.max_properties;
                let max = max.unwrap_or(REQUEST_BYTES_MAX / (smallest(inner) + 6));
                Type::Map(Box::new(of(inner, false)), Some(max))
            }
            Additional::Any if schema.properties.is_empty() => Type::Map(Box::new(Type::Dyn), None),
            _ => object(schema, is_resource),
        },
    }
}

fn object(schema: &Structural, is_resource: bool) -> Type {
    let mut fields: BTreeMap<String, Type> = schema
        .properties
        .iter()
        .filter_map(|(name, inner)| Some((escape(name)?, of(inner, false))))
        .collect();
    if is_resource {
        let text = || Type::String(Some(253));
        fields.insert("apiVersion".to_owned(), text());
        fields.insert("kind".to_owned(), text());
        let metadata = ["name", "generateName"].map(|name| (name.to_owned(), text()));
        fields.insert(
            "metadata".to_owned(),
            Type::Object(Arc::new(ObjectType {
                name: "object".to_owned(),
                fields: BTreeMap::from(metadata),
            })),
        );
    }
    Type::Object(Arc::new(ObjectType {
        name: "object".to_owned(),
        fields,
    }))
}

fn longest(schema: &Structural) -> u64 {
    let checks = &schema.checks;
    if let Some(max) = checks.max_length {
        return max;
    }
    if let Some(allowed) = &checks.allowed {
        let lengths = allowed.iter().filter_map(|value| value.as_str());
        let longest = lengths.map(|text| text.chars().count()).max();
        return u64::try_from(longest.unwrap_or_default()).unwrap_or(u64::MAX);
    }
    REQUEST_BYTES_MAX - 2
}

/// The bytes that a value takes at least in JSON.
fn smallest(schema: &Structural) -> u64 {
    match schema.form {
        Some(Form::Object | Form::Array) => {
            let required = schema.checks.required.iter();
            let members = required.map(|name| {
                let name_bytes = u64::try_from(name.len()).unwrap_or(u64::MAX);
                schema.properties.get(name).map_or(0, smallest) + name_bytes + 3
            });
            2 + members.sum::<u64>()
        }
        Some(Form::String) => 2,
        Some(Form::Boolean) => 4,
        _ => 1,
    }
}

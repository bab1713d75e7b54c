//! Values of a wrong type, named as Go's decoder names them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_object::Quantity;
use serde_json::Value;

use crate::table::{Form, Type, TypeRef, ValueType};

/// The first value that does not fit its member, told as clients know it:
/// `json: cannot unmarshal string into Go struct field
/// DeploymentSpec.spec.replicas of type int32`.
#[must_use]
pub fn check_types(ty: TypeRef, value: &Value) -> Option<String> {
    let mut path = Vec::new();
    let place = Place {
        owner: ty.short_name(),
        root: true,
    };
    by_form(ty, value, &place, &mut path)
}

/// The struct that the value is a member of.
struct Place {
    owner: &'static str,
    root: bool,
}

fn wrong(value: &Value, expected: &str, place: &Place, path: &[&str]) -> Option<String> {
    let found = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.as_i64().is_none() && expected.starts_with("int") => {
            format!("number {number}")
        }
        Value::Number(number) if expected == "int32" => match number.as_i64() {
            Some(fits) if i32::try_from(fits).is_err() => format!("number {number}"),
            _ => "number".to_owned(),
        },
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    if place.root {
        return Some(format!(
            "json: cannot unmarshal {found} into Go value of type {expected}"
        ));
    }
    Some(format!(
        "json: cannot unmarshal {found} into Go struct field {}.{} of type {expected}",
        place.owner,
        path.join(".")
    ))
}

fn by_type(
    ty: &'static ValueType,
    value: &Value,
    place: &Place,
    path: &mut Vec<&'static str>,
) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match ty {
        ValueType::Bool if !value.is_boolean() => wrong(value, "bool", place, path),
        ValueType::Int32 if value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
            wrong(value, "int32", place, path)
        }
        ValueType::Int64 if value.as_i64().is_none() => wrong(value, "int64", place, path),
        ValueType::Double if !value.is_number() => wrong(value, "float64", place, path),
        ValueType::String if !value.is_string() => wrong(value, "string", place, path),
        ValueType::Bytes => match value.as_str() {
            Some(text) => base64_error(text),
            None => wrong(value, "[]uint8", place, path),
        },
        ValueType::Type(inner) => by_form(*inner, value, place, path),
        ValueType::List(inner) | ValueType::WrappedList(inner) => match value.as_array() {
            Some(items) => items
                .iter()
                .find_map(|item| by_type(inner, item, place, path)),
            None => wrong(value, &go_type(ty), place, path),
        },
        ValueType::Map(inner) => match value.as_object() {
            Some(entries) => entries
                .values()
                .find_map(|item| by_type(inner, item, place, path)),
            None => wrong(value, &go_type(ty), place, path),
        },
        _ => None,
    }
}

fn by_form(
    ty: TypeRef,
    value: &Value,
    place: &Place,
    path: &mut Vec<&'static str>,
) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let described: &'static Type = &crate::Schema::get().types[usize::from(ty.0)];
    match described.form {
        Form::Object => {
            let Some(members) = value.as_object() else {
                return wrong(value, &go_name(described), place, path);
            };
            let inside = Place {
                owner: described.short_name(),
                root: false,
            };
            members.iter().find_map(|(name, value)| {
                let field = described.field(name)?;
                path.push(field.name);
                let found = by_type(&field.ty, value, &inside, path);
                path.pop();
                found
            })
        }
        Form::Quantity => match value {
            Value::String(text) => text
                .parse::<Quantity>()
                .err()
                .map(|error| error.to_string()),
            Value::Number(_) => None,
            other => other
                .to_string()
                .parse::<Quantity>()
                .err()
                .map(|error| error.to_string()),
        },
        Form::Time => time_error(value, "2006-01-02T15:04:05Z07:00", place, path),
        Form::MicroTime => time_error(value, "2006-01-02T15:04:05.000000Z07:00", place, path),
        Form::IntOrString => match value {
            Value::String(_) => None,
            Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                None
            }
            other => wrong(
                other,
                "int32",
                &Place {
                    owner: "",
                    root: true,
                },
                path,
            ),
        },
        _ => None,
    }
}

fn time_error(value: &Value, layout: &str, place: &Place, path: &[&str]) -> Option<String> {
    let Some(text) = value.as_str() else {
        return wrong(value, "string", place, path);
    };
    if kontiki_object::time::parse(text).is_some() {
        return None;
    }
    Some(format!(
        "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
    ))
}

fn base64_error(text: &str) -> Option<String> {
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    if STANDARD.decode(&clean).is_ok() {
        return None;
    }
    let is_digit = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    let body = text.trim_end_matches('=');
    let at = body
        .bytes()
        .position(|c| !is_digit(c) && c != b'\r' && c != b'\n');
    // Without a foreign letter the fault is at the end: too few of them.
    let at = at.unwrap_or(if text.len().is_multiple_of(4) {
        body.len()
    } else {
        text.len() / 4 * 4
    });
    Some(format!("illegal base64 data at input byte {at}"))
}

/// A type as Go prints it: `v1.ObjectReference`.
fn go_name(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let name = parts.next().unwrap_or_default();
    match parts.next() {
        Some(package) => format!("{package}.{name}"),
        None => name.to_owned(),
    }
}

fn go_type(ty: &ValueType) -> String {
    match ty {
        ValueType::Bool => "bool".to_owned(),
        ValueType::Int32 => "int32".to_owned(),
        ValueType::Int64 => "int64".to_owned(),
        ValueType::Double => "float64".to_owned(),
        ValueType::String => "string".to_owned(),
        ValueType::Bytes => "[]uint8".to_owned(),
        ValueType::Any => "interface {}".to_owned(),
        ValueType::Type(ty) => go_name(ty),
        ValueType::List(inner) | ValueType::WrappedList(inner) => format!("[]{}", go_type(inner)),
        ValueType::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}

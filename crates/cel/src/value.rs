//! JSON as values of CEL, by the types that schemas declare.

use crate::escape::escape;
use crate::ty::Type;
use base64::Engine as _;
use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use std::collections::HashMap;
use std::sync::Arc;

/// The value of `json`, read as `ty` says. What does not fit stays what it is:
/// schemas are validated apart from rules.
#[must_use]
pub fn from_json(json: &serde_json::Value, ty: &Type) -> Value {
    use serde_json::Value as Json;
    match (json, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Bool(on), _) => Value::Bool(*on),
        (Json::Number(number), Type::Double) => Value::Float(number.as_f64().unwrap_or_default()),
        (Json::Number(number), _) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            _ => Value::Float(number.as_f64().unwrap_or_default()),
        },
        (Json::String(text), ty) => text_value(text, ty),
        (Json::Array(items), ty) => {
            let inner = match ty {
                Type::List(inner, _) => inner,
                _ => &Type::Dyn,
            };
            let items: Vec<Value> = items.iter().map(|item| from_json(item, inner)).collect();
            Value::List(Arc::new(items))
        }
        (Json::Object(members), Type::Object(object)) => {
            map(members.iter().filter_map(|(name, value)| {
                // Fields that the type does not name are out of reach for rules.
                let name = escape(name)?;
                let ty = object.fields.get(&name)?;
                Some((name, from_json(value, ty)))
            }))
        }
        (Json::Object(members), ty) => {
            let inner = match ty {
                Type::Map(inner, _) => inner,
                _ => &Type::Dyn,
            };
            let entries = members.iter();
            map(entries.map(|(name, value)| (name.clone(), from_json(value, inner))))
        }
    }
}

/// A value that may be absent.
#[must_use]
pub fn optional(value: Option<Value>) -> Value {
    let value = value.map_or_else(OptionalValue::none, OptionalValue::of);
    Value::Opaque(Arc::new(value))
}

/// A map without entries.
pub(crate) fn empty_map() -> Value {
    map(std::iter::empty())
}

/// A value as JSON.
///
/// # Errors
/// If there is no JSON that says the same.
pub fn to_json(value: &Value) -> Result<serde_json::Value, String> {
    use serde_json::Value as Json;
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(on) => (*on).into(),
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or_else(|| format!("{number} is no number of JSON"))?
            .into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes.as_slice())
            .into(),
        Value::Timestamp(time) => time
            .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            .into(),
        Value::Duration(span) => format!("{}s", span.as_seconds_f64()).into(),
        Value::List(items) => items
            .iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Value::Map(map) => {
            let mut members = serde_json::Map::new();
            for (key, value) in map.map.iter() {
                let key = match key {
                    Key::String(text) => text.as_str().to_owned(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(on) => on.to_string(),
                };
                members.insert(key, to_json(value)?);
            }
            Json::Object(members)
        }
        Value::Opaque(_) | Value::Function(..) => {
            return Err("the value cannot be written as JSON".to_owned());
        }
    })
}

fn map(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> = entries
        .map(|(name, value)| (Key::String(Arc::new(name)), value))
        .collect();
    Value::Map(Map { map: Arc::new(map) })
}

fn text_value(text: &str, ty: &Type) -> Value {
    let plain = || Value::String(Arc::new(text.to_owned()));
    match ty {
        Type::Timestamp => chrono::DateTime::parse_from_rfc3339(text)
            .or_else(|_| chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")))
            .map_or_else(|_| plain(), Value::Timestamp),
        Type::Duration => duration(text).map_or_else(plain, Value::Duration),
        Type::Bytes => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_or_else(|_| plain(), |bytes| Value::Bytes(Arc::new(bytes))),
        _ => plain(),
    }
}

/// Go's `time.ParseDuration`.
fn duration(text: &str) -> Option<chrono::Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(chrono::Duration::zero());
    }
    let mut nanoseconds = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanoseconds += number * unit;
        rest = &rest[end..];
    }
    let whole = if negative { -nanoseconds } else { nanoseconds };
    if whole.abs() >= 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    Some(chrono::Duration::nanoseconds(whole as i64))
}

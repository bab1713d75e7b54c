//! Whether an applied object fits its schema, in the words of structured
//! merge.

use std::collections::HashSet;

use kontiki_schema::node::{Node, Shape};
use kontiki_schema::{Form, ListType};
use serde_json::Value;

use super::item_step;
use crate::fields::Step;

/// Everything that does not fit, one line each; duplicate items too.
///
/// # Errors
/// The text that follows `failed to create typed patch object (…): `.
pub fn validate(node: Node<'_>, value: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    check(node, value, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn told(path: &str, text: &str) -> String {
    if path.is_empty() {
        text.to_owned()
    } else {
        format!("{path}: {text}")
    }
}

fn check(node: Node<'_>, value: &Value, path: &str, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    match node.shape() {
        Shape::Scalar => {
            if let Some(expected) = scalar_error(node, value) {
                errors.push(told(path, &expected));
            }
        }
        Shape::Struct | Shape::Map => match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = format!("{path}.{name}");
                    match node.member(name) {
                        Some(node) => check(node, value, &path, errors),
                        None => errors.push(format!("{path}: field not declared in schema")),
                    }
                }
            }
            other => errors.push(told(
                path,
                &format!("expected map, got {}", unstructured(other)),
            )),
        },
        Shape::List => match value {
            Value::Array(items) => list(node, items, path, errors),
            other => errors.push(told(
                path,
                &format!("expected list, got {}", unstructured(other)),
            )),
        },
        Shape::Unknown => {}
    }
}

fn list(node: Node<'_>, items: &[Value], path: &str, errors: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        if node.list_type() == ListType::Atomic {
            check(node.item(), item, &format!("{path}[{at}]"), errors);
            continue;
        }
        let missing = node.list_map_keys().into_iter().find(|key| {
            item.get(key).is_none()
                && node
                    .item()
                    .member(key)
                    .and_then(Node::default_value)
                    .is_none()
        });
        let step = match (missing, item_step(node, item)) {
            (Some(key), _) => {
                errors.push(told(
                    path,
                    &format!("element {at}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"),
                ));
                continue;
            }
            (None, Some(step)) => step,
            (None, None) => Step::index(at),
        };
        let inner = format!("{path}{step}");
        if !seen.insert(step.clone()) {
            errors.push(told(path, &format!("duplicate entries for key {step}")));
            continue;
        }
        check(node.item(), item, &inner, errors);
    }
}

/// What a scalar should have been, if it is something else.
fn scalar_error(node: Node<'_>, value: &Value) -> Option<String> {
    use kontiki_schema::ValueType::{Bool, Bytes, Double, Int32, Int64, String};
    let untyped = |value: &Value| {
        (value.is_array() || value.is_object())
            .then(|| format!("expected any scalar, got {}", unstructured(value)))
    };
    if node.type_ref().is_some_and(|ty| ty.form != Form::Object) {
        return untyped(value);
    }
    match node.scalar_type()? {
        Int32 | Int64 | Double if !value.is_number() => Some(format!(
            "expected numeric (int or float), got {}",
            go_type(value)
        )),
        String | Bytes if !value.is_string() => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go_literal(value)
        )),
        Bool if !value.is_boolean() => {
            Some(format!("expected boolean, got {}", unstructured(value)))
        }
        _ => None,
    }
}

/// Go's `%T` of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Go's `%#v` of a decoded value, as far as it is legible.
fn go_literal(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => format!("{}{{}}", go_type(value)),
        other => other.to_string(),
    }
}

fn unstructured(value: &Value) -> String {
    format!(
        "&{{{}}}",
        match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    )
}

//! The v2 document as protobuf: `openapi.v2.Document` of gnostic, which
//! client-go reads. Vendor extensions travel as YAML text, and JSON is YAML.

use serde_json::{Map, Value};

use crate::protobuf::wire::{FIXED64, put_bytes, put_message, put_number, put_tag};

type Out = Vec<u8>;

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    text(&mut out, 1, document.get("swagger"));
    nested(&mut out, 2, |out| {
        text(out, 1, document.pointer("/info/title"));
        text(out, 2, document.pointer("/info/version"));
    });
    nested(&mut out, 8, |out| {
        for (path, item) in members(document.get("paths")) {
            named(out, 2, path, |out| path_item(out, item));
        }
    });
    nested(&mut out, 9, |out| {
        for (name, definition) in members(document.get("definitions")) {
            named(out, 1, name, |out| schema(out, definition));
        }
    });
    for requirement in items(document.get("security")) {
        nested(&mut out, 12, |out| {
            for (name, scopes) in members(Some(requirement)) {
                named(out, 1, name, |out| texts(out, 1, Some(scopes)));
            }
        });
    }
    nested(&mut out, 13, |out| {
        for (name, scheme) in members(document.get("securityDefinitions")) {
            named(out, 1, name, |out| {
                nested(out, 2, |out| {
                    for (tag, member) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
                        text(out, tag, scheme.get(member));
                    }
                });
            });
        }
    });
    out
}

fn nested(out: &mut Out, tag: u32, write: impl FnOnce(&mut Out)) {
    let done: Result<(), std::convert::Infallible> = put_message(out, tag, |out| {
        write(out);
        Ok(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// A pair of a name and a message, as gnostic writes maps.
fn named(out: &mut Out, tag: u32, name: &str, write: impl FnOnce(&mut Out)) {
    nested(out, tag, |out| {
        put_bytes(out, 1, name.as_bytes());
        nested(out, 2, write);
    });
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text(out: &mut Out, tag: u32, value: Option<&Value>) {
    if let Some(text) = value.and_then(Value::as_str) {
        put_bytes(out, tag, text.as_bytes());
    }
}

fn texts(out: &mut Out, tag: u32, values: Option<&Value>) {
    for value in items(values) {
        text(out, tag, Some(value));
    }
}

fn flag(out: &mut Out, tag: u32, value: Option<&Value>) {
    if value.and_then(Value::as_bool) == Some(true) {
        put_number(out, tag, 1);
    }
}

fn number(out: &mut Out, tag: u32, value: Option<&Value>) {
    if let Some(number) = value.and_then(Value::as_f64) {
        put_tag(out, tag, FIXED64);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn integer(out: &mut Out, tag: u32, value: Option<&Value>) {
    if let Some(number) = value.and_then(Value::as_i64) {
        put_number(out, tag, number);
    }
}

/// `Any`: the value as YAML.
fn any(out: &mut Out, tag: u32, value: &Value) {
    nested(out, tag, |out| {
        put_bytes(out, 2, format!("{value}\n").as_bytes())
    });
}

fn extensions(out: &mut Out, tag: u32, value: &Value) {
    for (name, value) in members(Some(value)).filter(|(name, _)| name.starts_with("x-")) {
        named(out, tag, name, |out| {
            put_bytes(out, 2, format!("{value}\n").as_bytes())
        });
    }
}

fn path_item(out: &mut Out, item: &Value) {
    let methods = [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ];
    for (tag, method) in methods {
        if let Some(found) = item.get(method) {
            nested(out, tag, |out| operation(out, found));
        }
    }
    for found in items(item.get("parameters")) {
        nested(out, 9, |out| nested(out, 1, |out| parameter(out, found)));
    }
}

fn operation(out: &mut Out, operation: &Value) {
    texts(out, 1, operation.get("tags"));
    text(out, 3, operation.get("description"));
    text(out, 5, operation.get("operationId"));
    texts(out, 6, operation.get("produces"));
    texts(out, 7, operation.get("consumes"));
    for found in items(operation.get("parameters")) {
        nested(out, 8, |out| nested(out, 1, |out| parameter(out, found)));
    }
    nested(out, 9, |out| {
        for (code, response) in members(operation.get("responses")) {
            named(out, 1, code, |out| {
                nested(out, 1, |out| {
                    text(out, 1, response.get("description"));
                    if let Some(found) = response.get("schema") {
                        nested(out, 2, |out| nested(out, 1, |out| schema(out, found)));
                    }
                });
            });
        }
    });
    texts(out, 10, operation.get("schemes"));
    extensions(out, 13, operation);
}

fn parameter(out: &mut Out, parameter: &Value) {
    let place = parameter
        .get("in")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if place == "body" {
        return nested(out, 1, |out| {
            text(out, 1, parameter.get("description"));
            text(out, 2, parameter.get("name"));
            text(out, 3, parameter.get("in"));
            flag(out, 4, parameter.get("required"));
            if let Some(found) = parameter.get("schema") {
                nested(out, 5, |out| schema(out, found));
            }
        });
    }
    // Query parameters have a member more before their type than path ones.
    let (tag, ty, unique) = if place == "path" {
        (4, 5, 19)
    } else {
        (3, 6, 20)
    };
    nested(out, 2, |out| {
        nested(out, tag, |out| {
            flag(out, 1, parameter.get("required"));
            text(out, 2, parameter.get("in"));
            text(out, 3, parameter.get("description"));
            text(out, 4, parameter.get("name"));
            text(out, ty, parameter.get("type"));
            text(out, ty + 1, parameter.get("format"));
            flag(out, unique, parameter.get("uniqueItems"));
        });
    });
}

fn schema(out: &mut Out, value: &Value) {
    text(out, 1, value.get("$ref"));
    text(out, 2, value.get("format"));
    text(out, 3, value.get("title"));
    text(out, 4, value.get("description"));
    if let Some(default) = value.get("default") {
        any(out, 5, default);
    }
    number(out, 6, value.get("multipleOf"));
    number(out, 7, value.get("maximum"));
    flag(out, 8, value.get("exclusiveMaximum"));
    number(out, 9, value.get("minimum"));
    flag(out, 10, value.get("exclusiveMinimum"));
    integer(out, 11, value.get("maxLength"));
    integer(out, 12, value.get("minLength"));
    text(out, 13, value.get("pattern"));
    integer(out, 14, value.get("maxItems"));
    integer(out, 15, value.get("minItems"));
    flag(out, 16, value.get("uniqueItems"));
    integer(out, 17, value.get("maxProperties"));
    integer(out, 18, value.get("minProperties"));
    texts(out, 19, value.get("required"));
    for one in items(value.get("enum")) {
        any(out, 20, one);
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            nested(out, 21, |out| put_number(out, 2, i64::from(*allowed)))
        }
        Some(inner) => nested(out, 21, |out| nested(out, 1, |out| schema(out, inner))),
        None => {}
    }
    if value.get("type").is_some() {
        nested(out, 22, |out| text(out, 1, value.get("type")));
    }
    if let Some(inner) = value.get("items") {
        nested(out, 23, |out| nested(out, 1, |out| schema(out, inner)));
    }
    for inner in items(value.get("allOf")) {
        nested(out, 24, |out| schema(out, inner));
    }
    if value.get("properties").is_some() {
        nested(out, 25, |out| {
            for (name, property) in members(value.get("properties")) {
                named(out, 1, name, |out| schema(out, property));
            }
        });
    }
    extensions(out, 31, value);
}

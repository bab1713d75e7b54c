//! The v2 document: the same content in the older form.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::{ResourceForOpenApi, security_scheme, v3_document};
use crate::docs::Docs;

/// The document as a tree.
pub(super) fn document(resources: &[ResourceForOpenApi], docs: &Docs) -> Value {
    let (paths, definitions): (Map<_, _>, Map<_, _>) = convert(resources, docs, |value| value);
    let mut document = frame();
    document.insert("paths".to_owned(), paths.into());
    document.insert("definitions".to_owned(), definitions.into());
    Value::Object(document)
}

/// The document as text. As a tree the whole would take many times its size, so
/// each part is written as soon as it is there.
pub(super) fn text(resources: &[ResourceForOpenApi], docs: &Docs) -> Vec<u8> {
    #[derive(Serialize)]
    struct Text {
        #[serde(flatten)]
        frame: Map<String, Value>,
        paths: BTreeMap<String, Box<RawValue>>,
        definitions: BTreeMap<String, Box<RawValue>>,
    }
    let (paths, definitions) = convert(resources, docs, |value| {
        serde_json::value::to_raw_value(&value).expect("JSON values serialize")
    });
    let text = Text {
        frame: frame(),
        paths,
        definitions,
    };
    serde_json::to_vec(&text).expect("JSON values serialize")
}

/// Everything but paths and definitions.
fn frame() -> Map<String, Value> {
    let members = [
        ("swagger", json!("2.0")),
        ("info", json!({"title": "Kubernetes", "version": "1.36"})),
        (
            "securityDefinitions",
            json!({"BearerToken": security_scheme()}),
        ),
        ("security", json!([{"BearerToken": []}])),
    ];
    let named = members.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Paths and definitions of every group version, each in the form that `form`
/// gives it.
fn convert<V, C: Default + Extend<(String, V)>>(
    resources: &[ResourceForOpenApi],
    docs: &Docs,
    form: impl Fn(Value) -> V,
) -> (C, C) {
    let mut versions: Vec<(&str, &str)> = resources
        .iter()
        .map(|resource| (resource.group.as_str(), resource.version.as_str()))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let (mut paths, mut definitions) = (C::default(), C::default());
    for (group, version) in versions {
        let mut document = v3_document(resources, group, version, docs);
        if let Some(Value::Object(found)) = document.get_mut("paths").map(Value::take) {
            let found = found.into_iter();
            paths.extend(found.map(|(path, item)| (path, form(path_item(item)))));
        }
        let schemas = document.pointer_mut("/components/schemas");
        if let Some(Value::Object(found)) = schemas.map(Value::take) {
            let found = found.into_iter();
            definitions.extend(found.map(|(name, schema)| (name, form(definition(schema)))));
        }
    }
    (paths, definitions)
}

/// A schema: references stand alone, defaults do not exist, alternatives are
/// left to prose.
fn definition(schema: Value) -> Value {
    let Value::Object(mut members) = schema else {
        return schema;
    };
    members.remove("default");
    members.remove("nullable");
    if members.remove("oneOf").is_some() || members.remove("anyOf").is_some() {
        members.insert("type".to_owned(), json!("string"));
    }
    if let Some(Value::Array(all)) = members.remove("allOf") {
        match <[Value; 1]>::try_from(all) {
            Ok([Value::Object(one)]) => members.extend(one),
            Ok([_]) => {}
            Err(all) => {
                members.insert(
                    "allOf".to_owned(),
                    all.into_iter().map(definition).collect(),
                );
            }
        }
    }
    members.remove("not");
    if let Some(reference) = members.get_mut("$ref") {
        let target = reference
            .as_str()
            .unwrap_or_default()
            .replace("#/components/schemas/", "#/definitions/");
        *reference = json!(target);
    }
    if members.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true)) {
        // Older clients refuse members that a schema does not name.
        members.remove("properties");
        members.remove("required");
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties").map(Value::take) {
        let properties: Map<String, Value> = properties
            .into_iter()
            .map(|(name, schema)| (name, definition(schema)))
            .collect();
        members.insert("properties".to_owned(), Value::Object(properties));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = members.get_mut(inner) {
            *schema = definition(schema.take());
        }
    }
    Value::Object(members)
}

fn path_item(item: Value) -> Value {
    let Value::Object(members) = item else {
        return item;
    };
    members
        .into_iter()
        .map(|(name, content)| {
            let content = if name == "parameters" {
                parameters(content)
            } else {
                operation(content)
            };
            (name, content)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else {
        return list;
    };
    list.into_iter()
        .map(|mut parameter| {
            if let Some(Value::Object(schema)) = parameter.get_mut("schema").map(Value::take)
                && let Some(members) = parameter.as_object_mut()
            {
                members.remove("schema");
                members.extend(schema);
            }
            parameter
        })
        .collect()
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut members) = operation else {
        return operation;
    };
    let mut all = Vec::new();
    let mut consumes = vec![json!("*/*")];
    if let Some(body) = members.remove("requestBody") {
        let (media, schema) = first_content(&body);
        if media.len() > 1 {
            consumes = media;
        }
        let mut parameter = json!({"name": "body", "in": "body", "schema": definition(schema)});
        if let Some(required) = body.get("required") {
            parameter["required"] = required.clone();
        }
        all.push(parameter);
    }
    if let Some(Value::Array(rest)) = members.remove("parameters").map(parameters) {
        all.extend(rest);
    }
    if !all.is_empty() {
        members.insert("parameters".to_owned(), Value::Array(all));
    }
    let mut produces = Vec::new();
    if let Some(Value::Object(responses)) = members.get_mut("responses") {
        for response in responses.values_mut() {
            let (media, schema) = first_content(response);
            if let Some(response) = response.as_object_mut() {
                response.remove("content");
                if !schema.is_null() {
                    response.insert("schema".to_owned(), definition(schema));
                }
            }
            if produces.is_empty() {
                produces = media;
            }
        }
    }
    members.insert("consumes".to_owned(), Value::Array(consumes));
    members.insert("produces".to_owned(), Value::Array(produces));
    members.insert("schemes".to_owned(), json!(["https"]));
    Value::Object(members)
}

/// The media types and the schema of a body.
fn first_content(body: &Value) -> (Vec<Value>, Value) {
    let content = body.get("content").and_then(Value::as_object);
    let media = content
        .into_iter()
        .flat_map(Map::keys)
        .map(|media| json!(media))
        .collect();
    let schema = content
        .and_then(|content| content.values().next())
        .and_then(|one| one.get("schema"))
        .cloned();
    (media, schema.unwrap_or_default())
}

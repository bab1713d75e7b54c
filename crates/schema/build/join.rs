//! Joins the JSON schemas with the protobuf messages: names, types and docs
//! from the one, tags and merge markers from the other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::facts::{Facts, Presence};
use crate::pb::{self, Message};
use crate::pb_only;
use crate::roots::Root;

/// A type of the table.
#[derive(Debug, Default)]
pub struct TypeRow {
    pub name: String,
    /// How the type is written: `object`, or the name of a special form.
    pub form: &'static str,
    pub atomic: bool,
    pub gvks: Vec<String>,
    pub docs: String,
    pub fields: BTreeMap<String, FieldRow>,
    /// Whether any field has a protobuf tag, or the message is known empty.
    pub wire: bool,
}

/// A field of the table.
#[derive(Debug, Default)]
pub struct FieldRow {
    pub ty: String,
    pub path: Vec<u32>,
    pub list_type: String,
    pub list_map_keys: Vec<String>,
    pub map_type: String,
    pub merge_key: String,
    pub strategies: String,
    pub default: String,
    pub required: bool,
    pub presence: char,
    pub docs: String,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Joins everything into rows sorted by type name.
pub fn join(
    definitions: &serde_json::Map<String, Value>,
    roots: &[Root],
    messages: &BTreeMap<String, Message>,
    facts: &Facts,
) -> BTreeMap<String, TypeRow> {
    let mut rows = BTreeMap::new();
    for (name, schema) in definitions {
        rows.insert(name.clone(), type_row(name, schema, messages, facts));
    }
    for root in roots {
        if let Some(row) = rows.get_mut(&root.schema_name) {
            row.gvks
                .push(format!("{}/{}/{}", root.group, root.version, root.kind));
        }
        if let Some(list_kind) = root.list_kind {
            let (module, _) = root
                .schema_name
                .rsplit_once('.')
                .expect("schema names have a module");
            let name = format!("{module}.{list_kind}");
            let row = list_row(&name, root, messages, list_kind);
            rows.insert(name, row);
        }
    }
    let names: BTreeMap<String, String> = rows
        .keys()
        .map(String::as_str)
        .chain(pb_only::TYPES.iter().map(|(name, _)| *name))
        .map(|name| (pb::key(name), name.to_owned()))
        .collect();
    for (name, is_kind) in pb_only::TYPES {
        let row = pb_only_row(name, *is_kind, messages, &names, facts);
        rows.insert((*name).to_owned(), row);
    }
    rows
}

fn form(name: &str) -> &'static str {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "Time" if name.starts_with(META) => "time",
        "MicroTime" => "microtime",
        "Quantity" => "quantity",
        "IntOrString" => "intorstring",
        "RawExtension" => "raw",
        "JSON" if name.contains("apiextensions") => "json",
        "FieldsV1" => "fieldsv1",
        "JSONSchemaPropsOrArray" => "schemaorarray",
        "JSONSchemaPropsOrBool" => "schemaorbool",
        "JSONSchemaPropsOrStringArray" => "schemaorstrings",
        "Patch" => "any",
        _ => "object",
    }
}

fn type_row(
    name: &str,
    schema: &Value,
    messages: &BTreeMap<String, Message>,
    facts: &Facts,
) -> TypeRow {
    let message = messages
        .get(&pb::key(name))
        .or_else(|| messages.get(&pb::key(&crate::facts::predecessor(name)?)));
    let mut row = TypeRow {
        name: name.to_owned(),
        form: form(name),
        docs: text(&schema["description"]),
        atomic: message.is_some_and(|m| m.marker("structType").any(|v| v == "atomic")),
        wire: message.is_some(),
        ..TypeRow::default()
    };
    if row.form != "object" {
        return row;
    }
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let empty = serde_json::Map::new();
    for (json, property) in schema["properties"].as_object().unwrap_or(&empty) {
        let mut field = FieldRow {
            ty: type_code(property),
            docs: text(&property["description"]),
            // The crate makes metadata a plain member of every kind; the
            // published schemas never require it.
            required: required.contains(json.as_str()) && json != "metadata",
            ..FieldRow::default()
        };
        if let Some((path, found)) = message.and_then(|m| find(m, json, schema, messages, 0)) {
            field.path = path;
            take_markers(&mut field, found);
        }
        facts.apply(name, json, &mut field);
        row.wire |= !field.path.is_empty();
        field.presence = presence(name, json, &field, facts);
        row.fields.insert(json.clone(), field);
    }
    row
}

/// The tags that lead to the field named `json`: more than one if Go embeds
/// the struct that has it, which JSON shows flat.
fn find<'a>(
    message: &'a Message,
    json: &str,
    schema: &Value,
    messages: &'a BTreeMap<String, Message>,
    depth: u32,
) -> Option<(Vec<u32>, &'a pb::Field)> {
    let wanted = pb::key(json.trim_start_matches('$'));
    if let Some(field) = message
        .fields
        .iter()
        .find(|field| pb::key(&field.name) == wanted)
    {
        return Some((vec![field.tag], field));
    }
    if depth == 2 {
        return None;
    }
    let known: BTreeSet<String> = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|properties| properties.keys())
        .map(|name| pb::key(name.trim_start_matches('$')))
        .collect();
    message
        .fields
        .iter()
        .filter(|field| {
            field.wire.starts_with("message, optional") && !known.contains(&pb::key(&field.name))
        })
        .find_map(|field| {
            let inner = messages.get(field.message.as_deref()?)?;
            let (mut path, found) = find(inner, json, schema, messages, depth + 1)?;
            path.insert(0, field.tag);
            Some((path, found))
        })
}

fn take_markers(field: &mut FieldRow, from: &pb::Field) {
    let last = |name: &str| from.marker(name).last().unwrap_or_default().to_owned();
    field.list_type = last("listType");
    field.list_map_keys = from
        .marker("listMapKey")
        .map(|key| key.trim_matches('"').to_owned())
        .collect();
    field.map_type = match (last("mapType"), last("structType")) {
        (map, _) if !map.is_empty() => map,
        (_, structure) => structure,
    };
    field.merge_key = last("patchMergeKey");
    field.strategies = last("patchStrategy");
    field.default = last("default");
    if field.default.starts_with("ref(") {
        field.default.clear();
    }
    // A list of wrapped strings: JSON shows the list, protobuf a message.
    if field.ty.starts_with('[') && from.wire.starts_with("message, optional") {
        field.ty = format!("w{}", &field.ty[1..]);
    }
    if field.ty.starts_with("{[") && from.wire.contains("string, message") {
        field.ty = format!("{{w{}", &field.ty[2..]);
    }
}

fn presence(owner: &str, json: &str, field: &FieldRow, facts: &Facts) -> char {
    match facts.presence(owner, json) {
        Some(Presence::Pointer) => return 'p',
        Some(Presence::Value) => return 'v',
        Some(Presence::Always) => return 'a',
        Some(Presence::Omit) => return 'e',
        None => {}
    }
    let reference = field.ty.strip_prefix('#');
    match reference {
        Some(target)
            if target == format!("{META}.ObjectMeta") || target == format!("{META}.ListMeta") =>
        {
            'v'
        }
        Some(target) if form(target) == "time" || form(target) == "microtime" => {
            // The times of conditions are plain members, whoever declares them.
            let plain = owner.ends_with("Condition") && json.starts_with("last");
            if field.required || plain { 'n' } else { 'p' }
        }
        Some(target) if form(target) == "object" && !field.required => 'p',
        Some(_) if field.required && json == "spec" => 'v',
        Some(_) if field.required => 'a',
        Some(_) => 'p',
        None if !field.required && (json == "apiVersion" || json == "kind") => 'e',
        None if field.required => 'a',
        None => 'e',
    }
}

/// `s` string, `b` bool, `i` int32, `l` int64, `d` double, `y` bytes, `j` any
/// JSON, `#name` a type; `[`, `{` and `w` before it: list, map, wrapped list.
fn type_code(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return format!("#{}", reference.rsplit('/').next().unwrap_or(reference));
    }
    match (property["type"].as_str(), property["format"].as_str()) {
        (Some("boolean"), _) => "b".to_owned(),
        (Some("integer"), Some("int32")) => "i".to_owned(),
        (Some("integer"), _) => "l".to_owned(),
        (Some("number"), _) => "d".to_owned(),
        (Some("string"), Some("byte")) => "y".to_owned(),
        (Some("string"), _) => "s".to_owned(),
        (Some("array"), _) => format!("[{}", type_code(&property["items"])),
        (Some("object"), _) if property["additionalProperties"].is_object() => {
            format!("{{{}", type_code(&property["additionalProperties"]))
        }
        _ => "j".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn kind_fields() -> [(String, FieldRow); 2] {
    let field = |docs: &str| FieldRow {
        ty: "s".into(),
        presence: 'e',
        docs: docs.into(),
        ..FieldRow::default()
    };
    [
        (
            "apiVersion".into(),
            field(
                "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
            ),
        ),
        (
            "kind".into(),
            field(
                "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
            ),
        ),
    ]
}

fn list_row(
    name: &str,
    root: &Root,
    messages: &BTreeMap<String, Message>,
    list_kind: &str,
) -> TypeRow {
    let message = messages.get(&pb::key(name));
    let docs_of = |field: &str, otherwise: &str| {
        message
            .and_then(|m| m.fields.iter().find(|f| f.name == field))
            .map(|f| paragraph(&f.docs))
            .filter(|docs| !docs.is_empty())
            .unwrap_or_else(|| otherwise.to_owned())
    };
    let mut fields: BTreeMap<String, FieldRow> = kind_fields().into();
    fields.insert(
        "items".into(),
        FieldRow {
            ty: format!("[#{}", root.schema_name),
            path: vec![2],
            required: true,
            presence: 'a',
            docs: docs_of("items", "items is the list of objects."),
            ..FieldRow::default()
        },
    );
    fields.insert(
        "metadata".into(),
        FieldRow {
            ty: format!("#{META}.ListMeta"),
            path: vec![1],
            presence: 'v',
            docs: docs_of("metadata", "Standard list metadata."),
            ..FieldRow::default()
        },
    );
    TypeRow {
        name: name.to_owned(),
        form: "object",
        gvks: vec![format!("{}/{}/{list_kind}", root.group, root.version)],
        docs: message.map_or_else(
            || format!("{list_kind} is a collection of {}.", root.kind),
            |m| paragraph(&m.docs),
        ),
        fields,
        wire: true,
        ..TypeRow::default()
    }
}

fn pb_only_row(
    name: &str,
    is_kind: bool,
    messages: &BTreeMap<String, Message>,
    names: &BTreeMap<String, String>,
    facts: &Facts,
) -> TypeRow {
    let message = messages
        .get(&pb::key(name))
        .unwrap_or_else(|| panic!("the protobuf sources lack {name}"));
    let mut row = TypeRow {
        name: name.to_owned(),
        form: "object",
        docs: paragraph(&message.docs),
        wire: true,
        ..TypeRow::default()
    };
    if is_kind {
        row.fields.extend(kind_fields());
        let (module, kind) = name.rsplit_once('.').expect("schema names have a module");
        let (group, version) = if module == META {
            ("meta.k8s.io", "v1")
        } else {
            ("", "v1")
        };
        row.gvks.push(format!("{group}/{version}/{kind}"));
    }
    for from in &message.fields {
        let mut field = FieldRow {
            ty: wire_code(from, names),
            path: vec![from.tag],
            docs: paragraph(&from.docs),
            required: from.has_marker("required"),
            ..FieldRow::default()
        };
        take_markers(&mut field, from);
        facts.apply(name, &pb_only::json_name(&from.name), &mut field);
        field.presence = if field.required {
            'a'
        } else if from.name == "metadata" {
            'v'
        } else if field.ty.starts_with('#') || field.ty == "l" {
            'p'
        } else {
            'e'
        };
        row.fields.insert(pb_only::json_name(&from.name), field);
    }
    row
}

fn wire_code(field: &pb::Field, names: &BTreeMap<String, String>) -> String {
    let message = || {
        let key = field.message.as_deref().unwrap_or_default();
        format!(
            "#{}",
            names
                .get(key)
                .unwrap_or_else(|| panic!("no schema for the message {key}"))
        )
    };
    let base = match field.wire.split([',', ' ']).next().unwrap_or_default() {
        "string" => "s".to_owned(),
        "bool" => "b".to_owned(),
        "int32" => "i".to_owned(),
        "int64" => "l".to_owned(),
        "double" => "d".to_owned(),
        "bytes" => "y".to_owned(),
        "message" => message(),
        other => panic!("the wire type {other} is new here"),
    };
    if field.wire.contains("repeated") {
        format!("[{base}")
    } else {
        base
    }
}

/// Go comment lines as one text: markers dropped, lines joined.
fn paragraph(docs: &[String]) -> String {
    let mut out = String::new();
    for line in docs.iter().map(|line| line.trim()) {
        if line.starts_with('+') || line.starts_with("TODO") {
            continue;
        }
        if line.is_empty() {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push_str("\n\n");
            }
            continue;
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push(' ');
        }
        // prost puts addresses in angle brackets.
        out.push_str(&line.replace("<http", "http").replace('>', ""));
    }
    out.trim_end().to_owned()
}

//! From a definition to its kinds: one for each served version.

use super::form::Form;
use super::json_path::JsonPath;
use super::strategy::CustomStrategy;
use kontiki_kinds::kind::texts;
use kontiki_kinds::table::age;
use kontiki_kinds::{
    CellContext, Column, Kind, ScalePaths, SelectableField, Storage, Subresource, Tree,
};
use kontiki_object::Value;
use kontiki_structural::definition::{condition, schema_of};
use std::cmp::Reverse;
use std::sync::Arc;

/// The verbs in the order in which upstream tells them for custom kinds.
const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// Where the objects of a definition lie.
#[must_use]
pub fn key_prefix(definition: &Tree) -> String {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let (group, plural) = (&spec["group"], &spec["names"]["plural"]);
    format!(
        "/registry/{}/{}",
        group.as_str().unwrap_or_default(),
        plural.as_str().unwrap_or_default()
    )
}

/// The kinds that a definition gives: none until it is established.
#[must_use]
pub fn of(definition: &Tree, identity: &str) -> Vec<Arc<Kind>> {
    if condition(definition, "Established") != "True" {
        return Vec::new();
    }
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let versions: &[Value] = spec["versions"].as_array().map_or(&[], Vec::as_slice);
    let Some(storage) = versions.iter().find(|version| version["storage"] == true) else {
        return Vec::new();
    };
    let mut kinds: Vec<Arc<Kind>> = versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| Arc::new(kind(definition, spec, version, storage, identity)))
        .collect();
    kinds.sort_by_key(|kind| Reverse(priority(&kind.version)));
    kinds
}

/// The kind of a definition's storage version, whether it is served or not.
#[must_use]
pub fn stored(definition: &Tree) -> Option<Arc<Kind>> {
    if condition(definition, "Established") != "True" {
        return None;
    }
    let spec = definition.get("spec")?;
    let mut versions = spec["versions"].as_array()?.iter();
    let storage = versions.find(|version| version["storage"] == true)?;
    Some(Arc::new(kind(definition, spec, storage, storage, "")))
}

/// Stable versions before beta before alpha, newer before older; other names last.
#[must_use]
pub fn priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = || (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else {
        return other();
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else {
        return other();
    };
    let rank = |stage: u8, minor: &str| match minor.parse() {
        Ok(minor) => (stage, major, minor, Reverse(String::new())),
        Err(_) => other(),
    };
    match &rest[digits..] {
        "" => (3, major, 0, Reverse(String::new())),
        stage if stage.starts_with("beta") => rank(2, &stage["beta".len()..]),
        stage if stage.starts_with("alpha") => rank(1, &stage["alpha".len()..]),
        _ => other(),
    }
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn kind(definition: &Tree, spec: &Value, version: &Value, storage: &Value, identity: &str) -> Kind {
    let accepted = definition
        .get("status")
        .map_or(&Value::Null, |status| &status["acceptedNames"]);
    let name = |field: &str| owned(&accepted[field]);
    let list = |field: &str| {
        let list = accepted[field].as_array().into_iter().flatten();
        list.map(|item| owned(item).into()).collect()
    };
    let group = owned(&spec["group"]);
    let structural = Arc::new(schema_of(version));
    let scale = scale(&version["subresources"]["scale"]);
    let has_status = !version["subresources"]["status"].is_null();
    let stored_as = format!("{group}/{}", owned(&storage["name"]));
    let reversed: Vec<&str> = group.rsplit('.').collect();
    let schema_name = format!(
        "{}.{}.{}",
        reversed.join("."),
        owned(&version["name"]),
        name("kind")
    );
    Kind {
        group: group.clone().into(),
        version: owned(&version["name"]).into(),
        kind: name("kind").into(),
        list_kind: name("listKind").into(),
        plural: name("plural").into(),
        singular: name("singular").into(),
        short_names: list("shortNames"),
        categories: list("categories"),
        namespaced: spec["scope"] == "Namespaced",
        verbs: texts(&VERBS),
        subresources: subresources(&name("kind"), has_status, scale.is_some()),
        storage: Some(Storage::new(key_prefix(definition), stored_as)),
        schema: schema_name.into(),
        columns: columns(&version["additionalPrinterColumns"]),
        selectable_fields: selectable(&version["selectableFields"]),
        strategy: Arc::new(CustomStrategy {
            structural: structural.clone(),
            has_status,
            scale: scale.clone(),
        }),
        custom: Some(Arc::new(Form {
            schema: version["schema"]["openAPIV3Schema"].clone(),
            structural,
            identity: identity.to_owned(),
            deprecation: deprecation(spec, version, &name("kind")),
            scale,
            webhook: webhook(spec),
            terminating: condition(definition, "Terminating") == "True",
            preserves_all: spec["preserveUnknownFields"] == true,
        })),
        ..Kind::virtual_kind("", "", "", "")
    }
}

fn webhook(spec: &Value) -> Option<Value> {
    let conversion = &spec["conversion"];
    (conversion["strategy"] == "Webhook").then(|| conversion["webhook"].clone())
}

fn deprecation(spec: &Value, version: &Value, kind: &str) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let given = version["deprecationWarning"].as_str().map(str::to_owned);
    Some(given.unwrap_or_else(|| {
        format!(
            "{}/{} {kind} is deprecated",
            owned(&spec["group"]),
            owned(&version["name"])
        )
    }))
}

fn scale(scale: &Value) -> Option<ScalePaths> {
    if scale.is_null() {
        return None;
    }
    let path = |field: &str| {
        let text = owned(&scale[field]);
        let steps = text.split('.').filter(|step| !step.is_empty());
        steps.map(str::to_owned).collect()
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: path("labelSelectorPath"),
    })
}

fn subresources(kind: &str, has_status: bool, has_scale: bool) -> Vec<Subresource> {
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(Subresource {
            name: "status".into(),
            group: "".into(),
            version: "".into(),
            kind: kind.to_owned().into(),
            verbs: texts(&["get", "patch", "update"]),
        });
    }
    if has_scale {
        subresources.push(Subresource::scale());
    }
    subresources
}

fn selectable(fields: &Value) -> Vec<SelectableField> {
    let fields = fields.as_array().into_iter().flatten();
    fields
        .map(|field| {
            let path = owned(&field["jsonPath"]);
            let path = path.strip_prefix('.').unwrap_or(&path).to_owned();
            let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
            SelectableField {
                path: path.into(),
                value: Arc::new(
                    move |object: &Tree| match super::strategy::at(object, &steps) {
                        None | Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => text.clone(),
                        Some(other) => other.to_string(),
                    },
                ),
            }
        })
        .collect()
}

fn columns(columns: &Value) -> Vec<Column> {
    let mut all = vec![Column::name()];
    match columns.as_array() {
        Some(columns) if !columns.is_empty() => all.extend(columns.iter().map(column)),
        _ => all.push(Column {
            r#type: "date".into(),
            ..Column::age()
        }),
    }
    all
}

fn column(column: &Value) -> Column {
    let text = owned(&column["jsonPath"]);
    let ty = owned(&column["type"]);
    let description = match owned(&column["description"]) {
        given if given.is_empty() => {
            format!("Custom resource definition column (in JSONPath format): {text}")
        }
        given => given,
    };
    let path = JsonPath::parse(&text);
    let cell_type = ty.clone();
    Column {
        name: owned(&column["name"]).into(),
        r#type: ty.into(),
        format: owned(&column["format"]).into(),
        description: description.into(),
        priority: i32::try_from(column["priority"].as_i64().unwrap_or_default()).unwrap_or(0),
        cell: Arc::new(move |object: &Tree, context: &CellContext| {
            let Some(path) = &path else {
                return Value::Null;
            };
            let object = Value::Object(object.clone());
            cell(&cell_type, &path.find(&object), context)
        }),
    }
}

fn cell(ty: &str, found: &[&Value], context: &CellContext) -> Value {
    let Some(first) = found.first() else {
        return Value::Null;
    };
    match (ty, first) {
        ("string", _) => {
            let texts: Vec<String> = found
                .iter()
                .map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect();
            texts.join(" ").into()
        }
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            #[expect(clippy::cast_possible_truncation, reason = "as upstream shows it")]
            (None, Some(number)) => (number as i64).into(),
            _ => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
        ("date", Value::String(text)) => match kontiki_object::time::parse(text) {
            Some(_) => age(Some(text), context).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

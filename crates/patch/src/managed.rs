//! `metadata.managedFields`: who owns which fields, and since when.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fields::FieldSet;

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

/// Who a set of fields belongs to. Appliers are one manager whatever version
/// they apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Manager {
    /// The name.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version it writes in; empty for appliers.
    pub api_version: String,
    /// The subresource it writes through; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// As conflict messages show it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub fields: FieldSet,
    /// The version that the fields are spelled in.
    pub api_version: String,
    /// When it last changed, RFC 3339.
    pub time: Option<String>,
}

/// All managers of an object.
pub type Managed = BTreeMap<Manager, Owned>;

/// Reads `metadata.managedFields`; `None` when an entry is malformed.
#[must_use]
pub fn decode(object: &Value) -> Option<Managed> {
    let mut managed = Managed::new();
    let Some(entries) = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
    else {
        return Some(managed);
    };
    for entry in entries {
        let text = |name: &str| {
            entry
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let fields_type = text("fieldsType");
        let api_version = text("apiVersion");
        if api_version.is_empty() || !(fields_type.is_empty() || fields_type == "FieldsV1") {
            return None;
        }
        let fields = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::new(),
            Some(fields) => FieldSet::from_fields_v1(fields)?,
        };
        let version = if operation == Operation::Apply {
            String::new()
        } else {
            api_version.clone()
        };
        let manager = Manager {
            name: text("manager"),
            operation,
            api_version: version,
            subresource: text("subresource"),
        };
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        managed.insert(
            manager,
            Owned {
                fields,
                api_version,
                time,
            },
        );
    }
    Some(managed)
}

/// Writes `metadata.managedFields`, oldest writers first, appliers before
/// updaters; without managers the member goes.
pub fn encode(object: &mut Value, managed: &Managed) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if managed.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let mut entries: Vec<(&Manager, &Owned)> = managed.iter().collect();
    entries.sort_by(|(left, left_owned), (right, right_owned)| {
        (
            left.operation,
            &left_owned.time,
            &left.name,
            &left_owned.api_version,
            &left.subresource,
        )
            .cmp(&(
                right.operation,
                &right_owned.time,
                &right.name,
                &right_owned.api_version,
                &right.subresource,
            ))
    });
    let entries = entries
        .into_iter()
        .map(|(manager, owned)| entry(manager, owned))
        .collect();
    metadata.insert("managedFields".to_owned(), Value::Array(entries));
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let operation = match manager.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    entry.insert("apiVersion".to_owned(), json!(owned.api_version));
    entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
    entry.insert("fieldsV1".to_owned(), owned.fields.to_fields_v1());
    if !manager.name.is_empty() {
        entry.insert("manager".to_owned(), json!(manager.name));
    }
    entry.insert("operation".to_owned(), json!(operation));
    if !manager.subresource.is_empty() {
        entry.insert("subresource".to_owned(), json!(manager.subresource));
    }
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), json!(time));
    }
    Value::Object(entry)
}

/// Takes `metadata.managedFields` out.
pub fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Whether two objects differ in nothing but the times of their managers. Such
/// a write changes nothing and keeps the old times.
#[must_use]
pub fn same_but_times(left: &Value, right: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        if let Some(entries) = object
            .pointer_mut("/metadata/managedFields")
            .and_then(Value::as_array_mut)
        {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
            entries.sort_by_key(Value::to_string);
        }
        object
    };
    timeless(left) == timeless(right)
}

/// The manager's name for a writer that gave none: its User-Agent up to the
/// first `/`.
#[must_use]
pub fn name_from_user_agent(user_agent: &str) -> String {
    let name: String = user_agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    name.chars().take(128).collect()
}

//! Schemas of types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{ResourceForOpenApi, SchemaSource};
use crate::docs::Docs;
use crate::table::{Field, Form, ListType, MapType, Presence, Schema, Type, TypeRef, ValueType};

const PREFIX: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Schemas being collected: what is added, and all that it mentions.
pub(super) struct Schemas<'d> {
    docs: &'d Docs,
    /// Every group version that is served: options belong to all of them.
    group_versions: BTreeSet<(String, String)>,
    done: BTreeMap<String, Value>,
}

impl<'d> Schemas<'d> {
    pub fn new(docs: &'d Docs, resources: &[ResourceForOpenApi]) -> Self {
        let group_versions = resources
            .iter()
            .map(|resource| (resource.group.clone(), resource.version.clone()))
            .collect();
        Self {
            docs,
            group_versions,
            done: BTreeMap::new(),
        }
    }

    pub fn add_resource(&mut self, resource: &ResourceForOpenApi) {
        match &resource.schema {
            SchemaSource::BuiltIn(ty) => self.add(*ty),
            SchemaSource::Custom { schema, list_kind } => {
                let item = custom_schema(self.docs, resource, schema);
                self.add_mentioned(&item);
                self.done.insert(resource.schema_name(), item);
                let list = custom_list(self.docs, resource, list_kind);
                self.add_mentioned(&list);
                self.done.insert(resource.list_name(), list);
            }
        }
    }

    /// Adds every type that a part of the document refers to.
    pub fn add_mentioned(&mut self, part: &Value) {
        match part {
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str().and_then(|text| text.strip_prefix(PREFIX)) {
                        Some(target) if name == "$ref" => {
                            if let Some(ty) = Schema::get().type_by_name(target) {
                                self.add(ty);
                            }
                        }
                        _ => self.add_mentioned(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_mentioned(item)),
            _ => {}
        }
    }

    fn add(&mut self, ty: TypeRef) {
        if self.done.contains_key(ty.name) {
            return;
        }
        self.done.insert(ty.name.to_owned(), Value::Null);
        let schema = self.of_type(&ty);
        self.add_mentioned(&schema);
        self.done.insert(ty.name.to_owned(), schema);
    }

    pub fn finish(self) -> Map<String, Value> {
        self.done.into_iter().collect()
    }

    fn of_type(&self, ty: &Type) -> Value {
        let mut schema = Map::new();
        let description = self.docs.text(ty.name, "");
        if !description.is_empty() {
            schema.insert("description".to_owned(), json!(description));
        }
        let mut set = |name: &str, value: Value| schema.insert(name.to_owned(), value);
        match ty.form {
            Form::Object => {}
            Form::Time | Form::MicroTime => {
                set("type", json!("string"));
                set("format", json!("date-time"));
                return Value::Object(schema);
            }
            Form::Quantity => {
                set("oneOf", json!([{"type": "string"}, {"type": "number"}]));
                return Value::Object(schema);
            }
            Form::IntOrString => {
                set("format", json!("int-or-string"));
                set("oneOf", json!([{"type": "integer"}, {"type": "string"}]));
                return Value::Object(schema);
            }
            Form::RawExtension | Form::FieldsV1 | Form::Any => {
                set("type", json!("object"));
                return Value::Object(schema);
            }
            Form::Json | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                return Value::Object(schema);
            }
        }
        set("type", json!("object"));
        let required: Vec<&str> = ty
            .fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        if !required.is_empty() {
            set("required", json!(required));
        }
        if !ty.fields.is_empty() {
            let properties: Map<String, Value> = ty
                .fields
                .iter()
                .map(|field| (field.name.to_owned(), self.property(ty, field)))
                .collect();
            set("properties", Value::Object(properties));
        }
        if ty.atomic {
            set("x-kubernetes-map-type", json!("atomic"));
        }
        if let Some(kinds) = self.kinds(ty) {
            set("x-kubernetes-group-version-kind", kinds);
        }
        Value::Object(schema)
    }

    fn kinds(&self, ty: &Type) -> Option<Value> {
        let entry = |group: &str, version: &str, kind: &str| json!({"group": group, "kind": kind, "version": version});
        let everywhere = [
            format!("{META}.DeleteOptions"),
            format!("{META}.WatchEvent"),
        ];
        if everywhere.iter().any(|name| name == ty.name) {
            let kind = ty.short_name();
            return Some(
                self.group_versions
                    .iter()
                    .map(|(group, version)| entry(group, version, kind))
                    .collect(),
            );
        }
        let kinds: Vec<Value> = ty
            .kinds
            .iter()
            .map(|kind| entry(kind.group, kind.version, kind.kind))
            .collect();
        (!kinds.is_empty()).then(|| kinds.into())
    }

    fn property(&self, ty: &Type, field: &Field) -> Value {
        let mut schema = of_value(&field.ty);
        let members = schema.as_object_mut().expect("schemas are objects");
        let description = self.docs.text(ty.name, field.name);
        if !description.is_empty() {
            members.insert("description".to_owned(), json!(description));
        }
        if let Some(default) = default_of(field) {
            members.insert("default".to_owned(), default);
        }
        let mut mark =
            |name: &str, value: Value| members.insert(format!("x-kubernetes-{name}"), value);
        if let Some(list_type) = field.list_type {
            mark(
                "list-type",
                json!(match list_type {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                }),
            );
        }
        if !field.list_map_keys.is_empty() {
            mark("list-map-keys", json!(field.list_map_keys));
        }
        if let Some(map_type) = field.map_type {
            mark(
                "map-type",
                json!(if map_type == MapType::Atomic {
                    "atomic"
                } else {
                    "granular"
                }),
            );
        }
        if let Some(key) = field.patch_merge_key {
            mark("patch-merge-key", json!(key));
        }
        let strategies = field.patch_strategies;
        let names: Vec<&str> = [
            (strategies.merge, "merge"),
            (strategies.replace, "replace"),
            (strategies.retain_keys, "retainKeys"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if !names.is_empty() {
            mark("patch-strategy", json!(names.join(",")));
        }
        // A reference stands alone unless texts or defaults stand beside it.
        if let Some(members) = schema.as_object_mut().filter(|members| members.len() > 1)
            && let Some(reference) = members.remove("$ref")
        {
            members.insert("allOf".to_owned(), json!([{"$ref": reference}]));
        }
        schema
    }
}

fn default_of(field: &Field) -> Option<Value> {
    if let Some(default) = field.default {
        return serde_json::from_str(default).ok();
    }
    match (field.presence, &field.ty) {
        (Presence::Value, ValueType::Type(ty)) if ty.form == Form::Object => Some(json!({})),
        (Presence::Always, ValueType::String) => Some(json!("")),
        (Presence::Always, ValueType::Bool) => Some(json!(false)),
        (Presence::Always, ValueType::Int32 | ValueType::Int64 | ValueType::Double) => {
            Some(json!(0))
        }
        _ => None,
    }
}

fn of_value(ty: &ValueType) -> Value {
    match ty {
        ValueType::Bool => json!({"type": "boolean"}),
        ValueType::Int32 => json!({"type": "integer", "format": "int32"}),
        ValueType::Int64 => json!({"type": "integer", "format": "int64"}),
        ValueType::Double => json!({"type": "number", "format": "double"}),
        ValueType::String => json!({"type": "string"}),
        ValueType::Bytes => json!({"type": "string", "format": "byte"}),
        ValueType::Any => json!({"type": "object"}),
        ValueType::Type(ty) => json!({"$ref": format!("{PREFIX}{}", ty.name)}),
        ValueType::List(inner) | ValueType::WrappedList(inner) => {
            json!({"type": "array", "items": of_value(inner)})
        }
        ValueType::Map(inner) => json!({"type": "object", "additionalProperties": of_value(inner)}),
    }
}

/// A custom schema with the members that every object has.
fn custom_schema(docs: &Docs, resource: &ResourceForOpenApi, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let members = schema.as_object_mut().expect("it was made an object");
    if !members.contains_key("x-kubernetes-preserve-unknown-fields")
        || members.contains_key("properties")
    {
        let properties = members.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = kind_member(docs, "apiVersion");
        properties["kind"] = kind_member(docs, "kind");
        properties["metadata"] = json!({"allOf": [{"$ref": format!("{PREFIX}{META}.ObjectMeta")}],
            "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"});
    }
    members.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": resource.group, "kind": resource.kind, "version": resource.version}]),
    );
    schema
}

/// `apiVersion` or `kind`, which say the same of every object.
fn kind_member(docs: &Docs, member: &str) -> Value {
    let description = docs.text("io.k8s.api.core.v1.ConfigMap", member);
    json!({"type": "string", "description": description})
}

fn custom_list(docs: &Docs, resource: &ResourceForOpenApi, list_kind: &str) -> Value {
    json!({
        "description": format!("{list_kind} is a list of {}", resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": kind_member(docs, "apiVersion"),
            "items": {"description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", resource.resource),
                "type": "array", "items": {"$ref": format!("{PREFIX}{}", resource.schema_name())}},
            "kind": kind_member(docs, "kind"),
            "metadata": {"description": "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
                "allOf": [{"$ref": format!("{PREFIX}{META}.ListMeta")}]},
        },
        "x-kubernetes-group-version-kind": [{"group": resource.group, "kind": list_kind, "version": resource.version}],
    })
}

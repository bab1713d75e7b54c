//! Query and path parameters. The texts are those of the options types.

use serde_json::{Value, json};

use crate::docs::Docs;
use crate::table::{Schema, ValueType};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

const LIST: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];

/// A parameter of a path: `name` or `namespace`.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true}})
}

pub(super) fn namespace() -> Value {
    in_path(
        "namespace",
        "object name and auth scope, such as for teams and projects",
    )
}

pub(super) fn pretty() -> Value {
    query(
        "pretty",
        "string",
        "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).",
    )
}

fn query(name: &str, ty: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": ty, "uniqueItems": true}})
}

fn option(docs: &Docs, options: &str, name: &str) -> Value {
    let type_name = format!("{META}.{options}");
    let ty = Schema::get()
        .type_by_name(&type_name)
        .and_then(|ty| ty.field(name).map(|field| type_word(&field.ty)))
        .unwrap_or("string");
    query(name, ty, docs.text(&type_name, name))
}

/// Query values of lists are given one by one.
fn type_word(ty: &ValueType) -> &'static str {
    match ty {
        ValueType::Bool => "boolean",
        ValueType::Int32 | ValueType::Int64 => "integer",
        _ => "string",
    }
}

pub(super) fn list(docs: &Docs) -> Vec<Value> {
    LIST.iter()
        .map(|name| option(docs, "ListOptions", name))
        .collect()
}

pub(super) fn delete(docs: &Docs) -> Vec<Value> {
    DELETE
        .iter()
        .map(|name| option(docs, "DeleteOptions", name))
        .collect()
}

/// Those of a list and of a delete together, by name.
pub(super) fn delete_collection(docs: &Docs) -> Vec<Value> {
    let listed = LIST
        .iter()
        .filter(|name| !matches!(**name, "allowWatchBookmarks" | "watch"));
    let mut all: Vec<Value> = listed
        .map(|name| option(docs, "ListOptions", name))
        .chain(delete(docs))
        .collect();
    all.sort_by_key(|parameter| parameter["name"].as_str().unwrap_or_default().to_owned());
    all
}

pub(super) fn write(docs: &Docs) -> Vec<Value> {
    WRITE
        .iter()
        .map(|name| option(docs, "CreateOptions", name))
        .collect()
}

pub(super) fn patch(docs: &Docs) -> Vec<Value> {
    let mut all = write(docs);
    all.push(option(docs, "PatchOptions", "force"));
    all
}

/// The members of an options kind such as `PodExecOptions`, as parameters.
pub(super) fn of_options(docs: &Docs, version_of_core: &str, kind: &str) -> Vec<Value> {
    let name = format!("io.k8s.api.core.{version_of_core}.{kind}");
    let Some(ty) = Schema::get().type_by_name(&name) else {
        return Vec::new();
    };
    let members = ty
        .fields
        .iter()
        .filter(|field| !matches!(field.name, "apiVersion" | "kind"));
    members
        .map(|field| {
            query(
                field.name,
                type_word(&field.ty),
                docs.text(&name, field.name),
            )
        })
        .collect()
}

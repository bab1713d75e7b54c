//! OpenAPI documents of the API: v3 for each group version, v2 for all of it,
//! the latter as JSON and as the protobuf form that older clients ask for.
//!
//! What is served is given by the caller, because custom types and the
//! resource list are not this crate's. Rendering unpacks the documentation and
//! costs tens of milliseconds: callers keep the bytes.

mod gnostic;
mod operations;
mod parameters;
mod paths;
mod schemas;
mod v2;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use crate::docs::Docs;
use crate::table::TypeRef;

/// The media type of the protobuf form of v2.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A resource as OpenAPI shows it.
#[derive(Clone, Debug)]
pub struct ResourceForOpenApi {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural name in paths.
    pub resource: String,
    /// The kind.
    pub kind: String,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Its verbs, as discovery lists them.
    pub verbs: Vec<String>,
    /// Its schema.
    pub schema: SchemaSource,
    /// Its subresources.
    pub subresources: Vec<SubresourceForOpenApi>,
}

/// A subresource as OpenAPI shows it.
#[derive(Clone, Debug)]
pub struct SubresourceForOpenApi {
    /// The name in paths: `status`, `scale`, `exec`.
    pub name: String,
    /// The group of its kind.
    pub group: String,
    /// The version of its kind.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// Its verbs: `get`, `update`, `patch`, `create`; `connect` for streams.
    pub verbs: Vec<String>,
}

/// Where a schema comes from.
#[derive(Clone, Debug)]
pub enum SchemaSource {
    /// The table.
    BuiltIn(TypeRef),
    /// A CustomResourceDefinition: the `openAPIV3Schema` of its version, and
    /// the kind of its list.
    Custom {
        /// The structural schema.
        schema: Value,
        /// The kind of the list.
        list_kind: String,
    },
}

impl ResourceForOpenApi {
    fn schema_name(&self) -> String {
        match &self.schema {
            SchemaSource::BuiltIn(ty) => ty.name.to_owned(),
            SchemaSource::Custom { .. } => custom_name(&self.group, &self.version, &self.kind),
        }
    }

    fn list_name(&self) -> String {
        match &self.schema {
            SchemaSource::BuiltIn(ty) => format!("{}List", ty.name),
            SchemaSource::Custom { list_kind, .. } => {
                custom_name(&self.group, &self.version, list_kind)
            }
        }
    }

    fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// Custom types are named by their reversed group: `com.example.v1.Widget`.
fn custom_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// The v3 document of one group version, such as `apis/apps/v1` or `api/v1`.
#[must_use]
pub fn render_v3(resources: &[ResourceForOpenApi], group: &str, version: &str) -> Vec<u8> {
    let docs = Docs::unpack();
    let document = v3_document(resources, group, version, &docs);
    serde_json::to_vec(&document).expect("JSON values serialize")
}

/// The v2 document of the whole API.
#[must_use]
pub fn render_v2(resources: &[ResourceForOpenApi]) -> Vec<u8> {
    v2::text(resources, &Docs::unpack())
}

/// The v2 document in its protobuf form.
#[must_use]
pub fn render_v2_protobuf(resources: &[ResourceForOpenApi]) -> Vec<u8> {
    gnostic::encode(&v2::document(resources, &Docs::unpack()))
}

/// The hash of a rendered document, for the index of `/openapi/v3` and ETags.
#[must_use]
pub fn hash(document: &[u8]) -> String {
    Sha512::digest(document)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// The index at `/openapi/v3`: path of each group version and its hash.
#[must_use]
pub fn render_index<'a>(documents: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let paths: Map<String, Value> = documents
        .map(|(path, hash)| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    serde_json::to_vec(&json!({"paths": paths})).expect("JSON values serialize")
}

fn v3_document(resources: &[ResourceForOpenApi], group: &str, version: &str, docs: &Docs) -> Value {
    let here: Vec<&ResourceForOpenApi> = resources
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .collect();
    let paths = paths::of_group_version(&here, group, version, docs);
    let mut schemas = schemas::Schemas::new(docs, resources);
    for resource in &here {
        schemas.add_resource(resource);
    }
    schemas.add_mentioned(&Value::Object(paths.clone()));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {"BearerToken": security_scheme()},
        },
    })
}

fn security_scheme() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}

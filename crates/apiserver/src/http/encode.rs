//! Answers, in the form that was agreed on.

use super::negotiate::{Agreed, Format, Shape};
use super::{table, yaml};
use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY,
};
use http::{HeaderMap, Response, StatusCode};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, SharedObject, Status, Value};
use kontiki_schema::{Schema, protobuf};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::io::Write as _;

/// Answers of at least this many bytes are compressed, if the client can read it.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// How to write an answer.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    /// What was agreed on.
    pub agreed: Agreed,
    /// Whether people will read it.
    pub pretty: bool,
    /// Whether the client reads gzip.
    pub gzip: bool,
    /// What the rows of tables hold: `None`, `Metadata` or `Object`.
    pub include_object: String,
}

/// Whether a client reads gzip. As upstream has it, the bare word counts, and
/// no word with a quality.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim() == "gzip"))
}

/// An object as lists hold it: without `apiVersion` and `kind`, but for custom
/// ones, which tell theirs.
struct Item<'a>(&'a Object, bool);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.tree() {
            if self.1 || (name != "apiVersion" && name != "kind") {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// A list to be written.
pub struct List<'a> {
    /// The kind of its items.
    pub kind: &'a Kind,
    /// Its items.
    pub items: &'a [SharedObject],
    /// Its metadata.
    pub metadata: Tree,
}

impl Encoder {
    /// A response of JSON, YAML or protobuf from a tree.
    pub fn value(&self, code: StatusCode, value: &Value) -> Response<Body> {
        let (format, bytes) = match self.agreed.format {
            Format::Yaml => (Format::Yaml, yaml::to_vec(value).into()),
            Format::Protobuf => match protobuf::encode_object(value).or_else(|_| meta(value)) {
                Ok(bytes) => (Format::Protobuf, bytes),
                // What has no such form is told in the form that everybody reads.
                Err(_) => (Format::Json, self.json(value)),
            },
            Format::Json => (Format::Json, self.json(value)),
        };
        self.respond(code, format.media_type(), bytes)
    }

    fn json(&self, value: &impl Serialize) -> Bytes {
        let bytes = if self.pretty {
            serde_json::to_vec_pretty(value)
        } else {
            serde_json::to_vec(value)
        };
        let mut bytes = bytes.expect("a JSON tree always encodes");
        bytes.push(b'\n');
        bytes.into()
    }

    /// A finished body.
    pub fn respond(&self, code: StatusCode, media_type: &str, bytes: Bytes) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = code;
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(media_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        let mut bytes = bytes;
        if self.gzip && bytes.len() >= GZIP_BYTES_MIN {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
            if let Ok(packed) = packed {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
                bytes = packed.into();
            }
        }
        *response.body_mut() = Body::from(bytes);
        response
    }

    /// One object.
    pub fn object(&self, code: StatusCode, kind: &Kind, object: &SharedObject) -> Response<Body> {
        match self.agreed.shape {
            Shape::Table => {
                let metadata = table::metadata_of(object);
                let table = table::table(
                    kind,
                    std::slice::from_ref(object),
                    metadata,
                    &self.include_object,
                    true,
                );
                self.value(code, &table)
            }
            Shape::Partial => self.value(code, &table::partial(object)),
            _ if self.agreed.format == Format::Json && !self.pretty => {
                let mut bytes = Vec::from(object.json());
                bytes.push(b'\n');
                self.respond(code, Format::Json.media_type(), bytes.into())
            }
            _ => self.value(code, &object.to_value()),
        }
    }

    /// A list.
    pub fn list(&self, list: List<'_>) -> Response<Body> {
        let code = StatusCode::OK;
        match self.agreed.shape {
            Shape::Table => {
                let table = table::table(
                    list.kind,
                    list.items,
                    list.metadata,
                    &self.include_object,
                    true,
                );
                self.value(code, &table)
            }
            Shape::Partial => {
                let items: Vec<Value> =
                    list.items.iter().map(|item| table::partial(item)).collect();
                let mut tree = Tree::new();
                tree.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
                tree.insert("kind".to_owned(), "PartialObjectMetadataList".into());
                tree.insert("metadata".to_owned(), list.metadata.into());
                tree.insert("items".to_owned(), items.into());
                self.value(code, &Value::Object(tree))
            }
            _ if self.agreed.format == Format::Json => {
                let bytes = self.json(&Json(&list));
                self.respond(code, Format::Json.media_type(), bytes)
            }
            _ => {
                let json = serde_json::to_value(Json(&list)).expect("a list is a JSON tree");
                self.value(code, &json)
            }
        }
    }

    /// A status, with the headers that belong to it.
    pub fn status(&self, status: &Status) -> Response<Body> {
        let code = match status.code {
            0 => StatusCode::OK,
            code => StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let mut response = match self.agreed.format {
            // In the order of its members, which people know.
            Format::Json => {
                let bytes = self.json(status);
                self.respond(code, Format::Json.media_type(), bytes)
            }
            _ => {
                let value = serde_json::to_value(status).expect("a status is a JSON tree");
                self.value(code, &value)
            }
        };
        let retry = status
            .details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds);
        if retry > 0 {
            response.headers_mut().insert(RETRY_AFTER, retry.into());
        }
        response
    }
}

/// Documents of `meta.k8s.io` that do not tell their version (core's discovery).
fn meta(value: &Value) -> Result<Bytes, protobuf::ProtobufError> {
    let kind = value["kind"].as_str().unwrap_or_default();
    let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
    match Schema::get().type_by_name(&name) {
        Some(ty) if ty.has_protobuf => protobuf::encode_object_as(ty, "", kind, value),
        _ => Err(protobuf::ProtobufError::UnknownKind {
            api_version: String::new(),
            kind: kind.to_owned(),
        }),
    }
}

struct Json<'a>(&'a List<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(list) = self;
        let items: Vec<Item<'_>> = list
            .items
            .iter()
            .map(|item| Item(item, list.kind.custom.is_some()))
            .collect();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("kind", &list.kind.list_kind)?;
        map.serialize_entry("apiVersion", &list.kind.api_version())?;
        map.serialize_entry("metadata", &list.metadata)?;
        map.serialize_entry("items", &items)?;
        map.end()
    }
}

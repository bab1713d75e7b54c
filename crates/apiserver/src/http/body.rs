//! Bodies of requests.

use super::negotiate::MEDIA_TYPES;
use crate::error;
use crate::registry::{FieldValidation, RequestContext};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value};
use kontiki_schema::strict::{self, Problem};
use kontiki_schema::{Node, Schema, protobuf};

/// The most that is read of a body, in bytes; upstream's limit.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// Reads a body, up to the limit.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(error::body_too_large(BODY_BYTES_MAX)),
        Err(error) => Err(Status::bad_request(error.to_string())),
    }
}

/// The media type of a body, without parameters; JSON if it does not say.
pub fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .unwrap_or("application/json")
}

/// What a body should hold.
pub struct Expected<'a> {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: &'a str,
    /// The OpenAPI name of its type; empty if unknown.
    pub schema: &'a str,
}

/// Decodes an object in any of the three formats.
///
/// # Errors
/// 400 if it is malformed or of another kind, 415 for another format.
pub fn decode(
    headers: &HeaderMap,
    bytes: &Bytes,
    expected: &Expected<'_>,
    validation: FieldValidation,
    context: &RequestContext,
) -> Result<Tree, Status> {
    let ty = Schema::get().type_by_name(expected.schema);
    let ty =
        ty.or_else(|| Schema::get().type_for_api_version(&expected.api_version, expected.kind));
    let node = ty.map_or_else(Node::untyped, Node::of);
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            hex::encode(&bytes[..bytes.len().min(1024)])
        ))
    };
    let (value, problems) = match content_type(headers) {
        "application/json" => {
            strict::parse(bytes, node).map_err(|error| unrecognized(error.to_string()))?
        }
        "application/yaml" => {
            let value = yaml(bytes).map_err(unrecognized)?;
            let unknown = strict::unknown_members(node, &value);
            (
                value,
                unknown.into_iter().map(Problem::UnknownField).collect(),
            )
        }
        "application/vnd.kubernetes.protobuf" => {
            if bytes.is_empty() || bytes[..] == protobuf::MAGIC[..] {
                let what = if bytes.is_empty() { "data" } else { "body" };
                return Err(unrecognized(format!("empty {what}")));
            }
            let value =
                protobuf::decode_object(bytes).map_err(|error| unrecognized(error.to_string()))?;
            (value, Vec::new())
        }
        _ => return Err(error::unsupported_media_type(&MEDIA_TYPES)),
    };
    let Value::Object(tree) = value else {
        return Err(unrecognized(
            "json: cannot unmarshal into an object".to_owned(),
        ));
    };
    check_kind(&tree, expected)?;
    note(problems, expected, validation, context)?;
    Ok(tree)
}

/// YAML as JSON; empty input is null.
pub fn yaml(bytes: &[u8]) -> Result<Value, String> {
    serde_yaml_ng::from_slice::<Value>(bytes).map_err(|error| error.to_string())
}

fn note(
    problems: Vec<Problem>,
    expected: &Expected<'_>,
    validation: FieldValidation,
    context: &RequestContext,
) -> Result<(), Status> {
    match validation {
        _ if problems.is_empty() => {}
        FieldValidation::Ignore => {}
        FieldValidation::Warn => {
            for problem in problems {
                context.warn(problem.to_string());
            }
        }
        FieldValidation::Strict => {
            let version = expected.api_version.rsplit('/').next().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: {}",
                strict::message(&problems),
                kind = expected.kind,
            )));
        }
    }
    Ok(())
}

fn check_kind(tree: &Tree, expected: &Expected<'_>) -> Result<(), Status> {
    let text = |field: &str| tree.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let is_kind = kind.is_empty() || kind == expected.kind;
    let is_older = expected.kind == "Eviction" && api_version == "policy/v1beta1";
    let is_version = api_version.is_empty() || api_version == expected.api_version || is_older;
    if is_kind && is_version {
        return Ok(());
    }
    let given = if api_version.is_empty() {
        &expected.api_version
    } else {
        api_version
    };
    if is_kind {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    let version = given.rsplit('/').next().unwrap_or_default();
    let why = if Schema::get().type_for_api_version(given, kind).is_some() {
        format!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(&expected.api_version),
            expected.kind
        )
    } else {
        // Upstream names the place in its sources where the kinds are registered.
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        format!("no kind \"{kind}\" is registered for version \"{given}\" in scheme \"{scheme}\"")
    };
    Err(Status::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
        expected.kind
    )))
}

/// How upstream calls the package of a group's internal types.
fn internal_package(api_version: &str) -> &str {
    match api_version.split_once('/') {
        None => "core",
        Some((group, _)) => group.split('.').next().unwrap_or(group),
    }
}

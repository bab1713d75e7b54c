//! Bodies of requests.

use super::negotiate::MEDIA_TYPES;
use crate::error;
use crate::registry::{FieldValidation, RequestContext};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kontiki_kinds::{CustomForm, FieldError, Path, Tree};
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
    /// Its group.
    pub group: &'a str,
    /// How it looks if it is not built in.
    pub custom: Option<&'a dyn CustomForm>,
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
    let node = match expected.custom {
        Some(custom) => Node::custom(custom.schema()),
        None => ty.map_or_else(Node::untyped, Node::of),
    };
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
        "application/vnd.kubernetes.protobuf" if expected.custom.is_none() => {
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
    if expected.custom.is_some() {
        check_custom(&tree, expected, bytes)?;
    } else {
        check_kind(&tree, expected)?;
    }
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

/// Custom objects say what they are: their group may hold anything.
fn check_custom(tree: &Tree, expected: &Expected<'_>, bytes: &[u8]) -> Result<(), Status> {
    const SHOWN_BYTES_MAX: usize = 30;
    let text = |field: &str| tree.get(field).and_then(Value::as_str).unwrap_or_default();
    for (field, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if text(field).is_empty() {
            let whole = String::from_utf8_lossy(bytes);
            let cut: String = whole.chars().take(SHOWN_BYTES_MAX).collect();
            let shown = if cut.len() < whole.len() {
                format!("{cut} ...")
            } else {
                cut
            };
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object '{name}' is missing in '{whole}' ({shown})",
                expected.kind
            )));
        }
    }
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != expected.api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    if kind == expected.kind {
        return Ok(());
    }
    let why = format!("must be {}", expected.kind);
    let complaint = FieldError::invalid(&Path::new("kind"), kind, why);
    let name = tree
        .get("metadata")
        .and_then(|metadata| metadata["name"].as_str());
    let causes = vec![complaint.into()];
    Err(Status::invalid(
        expected.group,
        kind,
        name.unwrap_or_default(),
        causes,
    ))
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
    let meant = if kind.is_empty() { expected.kind } else { kind };
    let is_registered = Schema::get().type_for_api_version(given, meant).is_some();
    if is_kind && is_registered {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    let version = given.rsplit('/').next().unwrap_or_default();
    let why = if is_registered {
        format!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(&expected.api_version),
            expected.kind
        )
    } else {
        // Upstream names the place in its sources where the kinds are registered.
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        format!("no kind \"{meant}\" is registered for version \"{given}\" in scheme \"{scheme}\"")
    };
    Err(Status::bad_request(format!(
        "{meant} in version \"{version}\" cannot be handled as a {}: {why}",
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

//! `AdmissionReview`: what webhooks are asked and answer.

use super::super::dynamic::Request;
use super::hook::Hook;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_object::{Status, Value};
use serde_json::json;
use std::collections::BTreeMap;

const GROUP: &str = "admission.k8s.io";
/// The forms that are known here.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// A question.
pub(super) struct Review {
    hook: String,
    uid: String,
    version: Option<&'static str>,
    request: Value,
}

/// What came back.
#[derive(Default)]
pub(super) struct Answer {
    /// Why the request is refused, if it is.
    pub(super) refusal: Option<Status>,
    pub(super) patch: Vec<Value>,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Why what came back is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is no review.
    Body(String),
    /// It does not fit the question.
    Answer(String),
}

impl Review {
    pub(super) fn new(
        hook: &Hook,
        request: &Request<'_>,
        kind: &Kind,
        object: Option<Value>,
        old: Option<Value>,
    ) -> Self {
        let known = |version: &String| VERSIONS.into_iter().find(|known| *known == version);
        let uid = uuid::Uuid::new_v4().to_string();
        let mut told = request.describe(kind);
        told.insert("uid".to_owned(), uid.clone().into());
        told.insert("object".to_owned(), object.unwrap_or_default());
        told.insert("oldObject".to_owned(), old.unwrap_or_default());
        Self {
            hook: hook.name.clone(),
            version: hook.review_versions.iter().find_map(known),
            request: told.into(),
            uid,
        }
    }

    fn api_version(&self) -> String {
        format!("{GROUP}/{}", self.version.unwrap_or_default())
    }

    pub(super) fn body(&self) -> Result<Bytes, String> {
        if self.version.is_none() {
            return Err(
                "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                    .to_owned(),
            );
        }
        let review = json!({
            "kind": "AdmissionReview", "apiVersion": self.api_version(), "request": self.request,
        });
        let bytes = serde_json::to_vec(&review).map_err(|error| error.to_string())?;
        Ok(bytes.into())
    }

    pub(super) fn read(&self, body: &[u8], is_mutating: bool) -> Result<Answer, Unreadable> {
        let review: Value = serde_json::from_slice(body).map_err(|error| {
            Unreadable::Body(format!(
                "couldn't get version/kind; json parse error: {error}"
            ))
        })?;
        let invalid = |why: String| Err(Unreadable::Answer(why));
        let response = &review["response"];
        if !response.is_object() {
            return invalid("webhook response was absent".to_owned());
        }
        let is_first = self.version == Some("v1");
        if is_first && response["uid"] != *self.uid {
            return invalid(format!(
                "expected response.uid={:?}, got {:?}",
                self.uid,
                response["uid"].as_str().unwrap_or_default()
            ));
        }
        let text = |field: &str| review[field].as_str().unwrap_or_default();
        if is_first
            && (text("apiVersion") != self.api_version() || text("kind") != "AdmissionReview")
        {
            return invalid(format!(
                "expected webhook response of {}, Kind=AdmissionReview, got {}, Kind={}",
                self.api_version(),
                text("apiVersion"),
                text("kind")
            ));
        }
        let patch = match is_mutating {
            true => patch(response, is_first)?,
            false if is_first => {
                for field in ["patch", "patchType"] {
                    if !response[field].is_null() {
                        let why = format!("validating webhook may not return response.{field}");
                        return invalid(why);
                    }
                }
                Vec::new()
            }
            false => Vec::new(),
        };
        let allowed = response["allowed"].as_bool().unwrap_or_default();
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let annotations = response["auditAnnotations"].as_object();
        Ok(Answer {
            refusal: (!allowed).then(|| refusal(&self.hook, &response["status"])),
            patch,
            warnings: warnings
                .filter_map(|warning| warning.as_str().map(str::to_owned))
                .collect(),
            annotations: annotations
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        })
    }
}

/// The operations of a patch.
fn patch(response: &Value, is_first: bool) -> Result<Vec<Value>, Unreadable> {
    let encoded = response["patch"].as_str().unwrap_or_default();
    let ty = response["patchType"].as_str();
    if is_first {
        let why = match (encoded.is_empty(), ty) {
            (false, None) => Some("webhook returned response.patch but not response.patchType"),
            (true, Some(_)) => Some("webhook returned response.patchType but not response.patch"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(Unreadable::Answer(why.to_owned()));
        }
        if let Some(other) = ty.filter(|ty| *ty != "JSONPatch") {
            return Err(Unreadable::Answer(format!(
                "unsupported patch type {other:?}"
            )));
        }
    }
    if encoded.is_empty() {
        return Ok(Vec::new());
    }
    let undecodable = |why: String| {
        Unreadable::Answer(format!(
            "received undecodable patch in webhook response: {why}"
        ))
    };
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| undecodable(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| undecodable(error.to_string()))
}

/// The `Status` that a refusal is told in.
fn refusal(hook: &str, given: &Value) -> Status {
    let mut status: Status = serde_json::from_value(given.clone())
        .unwrap_or_else(|_| Status::failure(0, "", String::new()));
    status.kind = "Status".to_owned();
    status.api_version = "v1".to_owned();
    status.code = status.code.max(400);
    if matches!(&*status.status, "" | "Success") {
        "Failure".clone_into(&mut status.status);
    }
    let by = format!("admission webhook {hook:?} denied the request");
    status.message = match (&*status.message, &*status.reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    status
}

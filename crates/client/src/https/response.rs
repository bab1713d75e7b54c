//! Answers from HTTP: a pure translation, and the lines of a watch.

use crate::{ApiResponse, WatchEvent, WatchStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kontiki_object::{Map, Object, Status, Value};
use serde::Deserialize;
use std::sync::Arc;

/// The longest line of a watch: an object and its envelope, with room to spare.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
/// How much of an answer that is no `Status` is quoted.
const QUOTED_CHARS_MAX: usize = 300;

/// What a refusal says: a `Status`, or whatever a proxy on the way wrote.
pub(super) fn refusal(code: StatusCode, body: &[u8]) -> Status {
    let number = code.as_u16();
    if let Ok(mut status) = serde_json::from_slice::<Status>(body)
        && status.kind == "Status"
        && !status.status.is_empty()
    {
        if status.code == 0 {
            status.code = number;
        }
        return status;
    }
    let reason = match number {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let said: String = String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(QUOTED_CHARS_MAX)
        .collect();
    let message = if said.is_empty() {
        format!("the server answered {code}")
    } else {
        said
    };
    Status::failure(number, reason, message)
}

/// An object, a list, or a deletion's `Status`.
pub(super) fn decode(body: &[u8]) -> Result<ApiResponse, Status> {
    let malformed =
        |error: String| Status::internal(format!("the server's answer is not an object: {error}"));
    let value: Value =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let Value::Object(mut tree) = value else {
        return Err(malformed("not a JSON object".into()));
    };
    let kind = text(&tree, "kind");
    let Some(item_kind) = kind.strip_suffix("List") else {
        return Ok(ApiResponse::Object(Arc::new(Object::new(tree))));
    };
    let items = match tree.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        // An empty list may be written as null.
        Some(Value::Null) => Vec::new(),
        _ => return Ok(ApiResponse::Object(Arc::new(Object::new(tree)))),
    };
    let api_version = text(&tree, "apiVersion");
    let items = items
        .into_iter()
        .map(|item| item_of_list(item, &api_version, item_kind));
    let items = items
        .collect::<Option<_>>()
        .ok_or_else(|| malformed("an item is no JSON object".into()))?;
    let metadata = match tree.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    Ok(ApiResponse::List {
        items,
        resource_version: text(&metadata, "resourceVersion"),
        continue_token: text(&metadata, "continue"),
    })
}

/// Items of a list do not say what they are; their list does.
fn item_of_list(item: Value, api_version: &str, kind: &str) -> Option<Arc<Object>> {
    let Value::Object(mut tree) = item else {
        return None;
    };
    for (field, value) in [("apiVersion", api_version), ("kind", kind)] {
        tree.entry(field.to_owned()).or_insert_with(|| value.into());
    }
    Some(Arc::new(Object::new(tree)))
}

fn text(tree: &Map<String, Value>, field: &str) -> String {
    tree.get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[derive(Deserialize)]
struct Frame {
    r#type: String,
    object: Value,
}

/// One line of a watch.
pub(super) fn event(line: &[u8]) -> Result<WatchEvent, Status> {
    let malformed = |why: String| Status::internal(format!("malformed watch event: {why}"));
    let frame: Frame =
        serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
    if frame.r#type == "ERROR" {
        return Err(serde_json::from_value(frame.object)
            .unwrap_or_else(|error| malformed(error.to_string())));
    }
    let object =
        Object::from_value(frame.object).ok_or_else(|| malformed("not an object".into()))?;
    let object = Arc::new(object);
    match frame.r#type.as_str() {
        "ADDED" => Ok(WatchEvent::Added(object)),
        "MODIFIED" => Ok(WatchEvent::Modified(object)),
        "DELETED" => Ok(WatchEvent::Deleted(object)),
        "BOOKMARK" => Ok(WatchEvent::Bookmark {
            resource_version: object.resource_version().to_owned(),
            initial_events_end: object.annotation("k8s.io/initial-events-end") == Some("true"),
        }),
        other => Err(malformed(format!("unknown type {other:?}"))),
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub(super) struct Lines {
    rest: BytesMut,
    /// What is known to hold no end of a line.
    searched: usize,
}

impl Lines {
    /// Takes more bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next whole line without its end; empty lines are passed over.
    ///
    /// # Errors
    /// If a line has grown past [`LINE_BYTES_MAX`].
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            let Some(offset) = self.rest[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            else {
                self.searched = self.rest.len();
                if self.rest.len() > LINE_BYTES_MAX {
                    return Err(Status::internal(format!(
                        "a watch event is longer than {LINE_BYTES_MAX} bytes"
                    )));
                }
                return Ok(None);
            };
            let mut line = self.rest.split_to(self.searched + offset + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if !line.is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }
}

enum Reading {
    Going(Box<Incoming>, Lines),
    Ended,
}

/// The events of a watch, read as they are wanted.
pub(super) fn events(body: Incoming) -> WatchStream {
    let start = Reading::Going(Box::new(body), Lines::default());
    futures::stream::unfold(start, async |reading| {
        let Reading::Going(mut body, mut lines) = reading else {
            return None;
        };
        match next_event(&mut body, &mut lines).await {
            Ok(Some(event)) => Some((Ok(event), Reading::Going(body, lines))),
            Ok(None) => None,
            Err(status) => Some((Err(status), Reading::Ended)),
        }
    })
    .boxed()
}

async fn next_event(body: &mut Incoming, lines: &mut Lines) -> Result<Option<WatchEvent>, Status> {
    loop {
        if let Some(line) = lines.next()? {
            return event(&line).map(Some);
        }
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    lines.push(bytes);
                }
            }
            Some(Err(error)) => {
                return Err(Status::unavailable(format!("the watch broke off: {error}")));
            }
        }
    }
}

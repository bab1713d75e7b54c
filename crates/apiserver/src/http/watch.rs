//! Watches on the wire: a stream of frames.

use super::encode::Encoder;
use super::negotiate::{Format, Shape};
use super::table;
use crate::registry::{WatchedEvent, Watching};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use kontiki_object::{Status, Value};
use kontiki_schema::protobuf;
use std::convert::Infallible;
use std::sync::Arc;

struct Frames {
    watching: Watching,
    encoder: Encoder,
    columns_told: bool,
    /// Held for as long as the watch lasts.
    _guard: Box<dyn Send + Sync>,
}

/// Answers a watch; `guard` is dropped when it ends.
pub fn respond(
    watching: Watching,
    encoder: Encoder,
    guard: Box<dyn Send + Sync>,
) -> Response<Body> {
    let media_type = match encoder.agreed.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    let frames = Frames {
        watching,
        encoder,
        columns_told: false,
        _guard: guard,
    };
    let frames = stream::unfold(frames, |mut frames| async move {
        let event = frames.watching.next().await?;
        let bytes = frames.frame(event);
        Some((Ok::<_, Infallible>(bytes), frames))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

impl Frames {
    fn frame(&mut self, event: Result<WatchedEvent, Status>) -> Bytes {
        match event {
            Ok(event) => self.event(&event),
            Err(status) => {
                let value = serde_json::to_value(&status).expect("a status is a JSON tree");
                self.value("ERROR", &value)
            }
        }
    }

    fn event(&mut self, event: &WatchedEvent) -> Bytes {
        let word = event.form.word();
        match self.encoder.agreed.shape {
            Shape::Table => {
                let kind = Arc::clone(self.watching.kind());
                let metadata = table::metadata_of(&event.object);
                let with_columns = !self.columns_told;
                self.columns_told = true;
                let rows = std::slice::from_ref(&event.object);
                let include = &self.encoder.include_object;
                let table = table::table(&kind, rows, metadata, include, with_columns);
                self.value(word, &table)
            }
            Shape::Partial => self.value(word, &table::partial(&event.object)),
            _ if self.encoder.agreed.format == Format::Json => {
                json_frame(word, &event.object.json())
            }
            _ => self.value(word, &event.object.to_value()),
        }
    }

    fn value(&self, word: &str, value: &Value) -> Bytes {
        match self.encoder.agreed.format {
            Format::Protobuf => match protobuf::encode_object(value) {
                Ok(bytes) => protobuf::watch_frame(word, &bytes),
                Err(error) => {
                    tracing::error!(%error, "an event has no protobuf form");
                    Bytes::new()
                }
            },
            _ => {
                let body = serde_json::to_vec(value).expect("a JSON tree always encodes");
                json_frame(word, &body)
            }
        }
    }
}

fn json_frame(word: &str, body: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(body.len() + 40);
    frame.extend_from_slice(b"{\"type\":\"");
    frame.extend_from_slice(word.as_bytes());
    frame.extend_from_slice(b"\",\"object\":");
    frame.extend_from_slice(body);
    frame.extend_from_slice(b"}\n");
    frame.into()
}

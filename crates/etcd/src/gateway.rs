//! etcd's API as JSON over HTTP, under `/v3/`.
//!
//! A request's JSON becomes the protobuf message of the same meaning, goes to
//! the gRPC service in this process, and the answer comes back as JSON: numbers
//! of 64 bits as strings, bytes in base64, fields by their protobuf names, what
//! is empty left out. Streams take one document after the other and answer one
//! a line, each as a `result`.
//!
//! **Invariant:** nothing here knows a method; the routes and the descriptors
//! of `proto/etcd` say all of it.

mod frames;
mod routes;

use crate::auth::ClientName;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use frames::{Frames, documents, frame};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use serde_json::json;
use std::sync::LazyLock;
use tonic::{Code, Status};
use tower::ServiceExt;

/// The descriptors of everything in `proto/etcd`.
static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.binpb"));
    DescriptorPool::decode(bytes).expect("descriptors that the compiler wrote")
});

const READ: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(false);
const WRITE: SerializeOptions = SerializeOptions::new().use_proto_field_name(true);

/// Headers of this prefix become metadata without it.
const METADATA_PREFIX: &str = "grpc-metadata-";
/// Headers that are metadata under their own names.
const METADATA: [HeaderName; 2] = [
    header::AUTHORIZATION,
    HeaderName::from_static("grpc-timeout"),
];

/// The gateway to `grpc`; base64 makes a document longer than its message.
pub(crate) fn router(grpc: &Router, message_bytes_max: usize) -> Router {
    let document_bytes_max = message_bytes_max.saturating_mul(2);
    let mut router = Router::new();
    for (path, method) in routes::ROUTES {
        let call = Call {
            grpc: grpc.clone(),
            method: descriptor(method).expect("a route names a method of proto/etcd"),
            document_bytes_max,
        };
        let handler = move |request: Request| {
            let call = call.clone();
            async move { call.answer(request).await }
        };
        let refuse = || async { failure(&Status::unimplemented("Method Not Allowed")) };
        router = router.route(path, post(handler).fallback(refuse));
    }
    let nothing = || async { failure(&Status::not_found("Not Found")) };
    router.route("/v3/{*path}", axum::routing::any(nothing))
}

fn descriptor(method: &str) -> Option<MethodDescriptor> {
    let (service, name) = method.split_once('/')?;
    let service = DESCRIPTORS.get_service_by_name(service)?;
    service.methods().find(|method| method.name() == name)
}

/// One method behind one path.
#[derive(Clone)]
struct Call {
    grpc: Router,
    method: MethodDescriptor,
    document_bytes_max: usize,
}

impl Call {
    async fn answer(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let max = self.document_bytes_max;
        let input = self.method.input();
        let framed = if self.method.is_client_streaming() {
            Body::from_stream(documents(body, max, move |json| encode(&input, json)))
        } else {
            let Ok(bytes) = to_bytes(body, max).await else {
                return failure(&Status::resource_exhausted(format!(
                    "the request is longer than {max} bytes"
                )));
            };
            match one(&input, &bytes) {
                Ok(framed) => Body::from(framed),
                Err(status) => return failure(&status),
            }
        };
        let mut request = Request::new(framed);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = axum::http::Method::POST;
        *request.headers_mut() = metadata(&parts.headers);
        let path = format!(
            "/{}/{}",
            self.method.parent_service().full_name(),
            self.method.name()
        );
        *request.uri_mut() = path.parse().expect("a path of names");
        if let Some(name) = parts.extensions.get::<ClientName>() {
            request.extensions_mut().insert(name.clone());
        }
        let Ok(response) = self.grpc.clone().oneshot(request).await;
        let output = self.method.output();
        if self.method.is_server_streaming() {
            many(response, output).await
        } else {
            alone(response, &output).await
        }
    }
}

/// An empty body is an empty message.
fn one(input: &MessageDescriptor, bytes: &[u8]) -> Result<Bytes, Status> {
    if bytes.trim_ascii().is_empty() {
        return Ok(frame(&[]));
    }
    let json = serde_json::from_slice(bytes).map_err(unreadable)?;
    encode(input, json)
}

fn encode(input: &MessageDescriptor, json: serde_json::Value) -> Result<Bytes, Status> {
    let message =
        DynamicMessage::deserialize_with_options(input.clone(), json, &READ).map_err(unreadable)?;
    Ok(frame(&message.encode_to_vec()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn unreadable(error: serde_json::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn decode(output: &MessageDescriptor, bytes: Bytes) -> Result<serde_json::Value, Status> {
    DynamicMessage::decode(output.clone(), bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .serialize_with_options(serde_json::value::Serializer, &WRITE)
        .map_err(|error| Status::internal(error.to_string()))
}

fn metadata(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    to.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    to.insert(header::TE, HeaderValue::from_static("trailers"));
    for (name, value) in from {
        let name = match name.as_str().strip_prefix(METADATA_PREFIX) {
            Some(stripped) => HeaderName::try_from(stripped).ok(),
            None => METADATA.contains(name).then(|| name.clone()),
        };
        if let Some(name) = name.filter(|name| *name != header::CONTENT_TYPE) {
            to.append(name, value.clone());
        }
    }
    to
}

/// Metadata of answers becomes headers of this prefix.
const ANSWERED_PREFIX: &str = "grpc-metadata-";
/// The only one there is.
const ANSWERED: &str = crate::kv::STALE;

async fn alone(response: Response, output: &MessageDescriptor) -> Response {
    let told = response.headers().get(ANSWERED).cloned();
    let mut frames = Frames::new(response);
    let answered = match frames.next().await {
        Some(Ok(message)) => decode(output, message),
        Some(Err(status)) => Err(status),
        None => Err(Status::internal("the service ended without an answer")),
    };
    match answered {
        Ok(json) => {
            let mut page = page(StatusCode::OK, &json);
            if let Some(value) = told {
                let name = format!("{ANSWERED_PREFIX}{ANSWERED}");
                let name = HeaderName::try_from(name).expect("a constant name");
                page.headers_mut().insert(name, value);
            }
            page
        }
        Err(status) => failure(&status),
    }
}

async fn many(response: Response, output: MessageDescriptor) -> Response {
    let mut frames = Frames::new(response);
    let first = match frames.next().await {
        // A stream that is refused outright is refused with an HTTP code too.
        Some(Err(status)) => return page(http_code(status.code()), &line_of(Err(status))),
        first => first,
    };
    let lines = futures::stream::unfold(
        (first, frames, output),
        |(ready, mut frames, output)| async move {
            let next = match ready {
                Some(ready) => ready,
                None => frames.next().await?,
            };
            let mut line = line_of(next.and_then(|message| decode(&output, message))).to_string();
            line.push('\n');
            Some((
                Ok::<_, std::convert::Infallible>(line),
                (None, frames, output),
            ))
        },
    );
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from_stream(lines)).into_response()
}

fn line_of(result: Result<serde_json::Value, Status>) -> serde_json::Value {
    match result {
        Ok(json) => json!({ "result": json }),
        Err(status) => json!({ "error": told(&status) }),
    }
}

fn told(status: &Status) -> serde_json::Value {
    json!({ "code": status.code() as i32, "message": status.message(), "details": [] })
}

fn failure(status: &Status) -> Response {
    page(http_code(status.code()), &told(status))
}

fn page(code: StatusCode, json: &serde_json::Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, json.to_string()).into_response()
}

/// As every gRPC gateway translates them.
fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_etcds_services_has_a_route() {
        for service in DESCRIPTORS.services() {
            // etcd serves neither as JSON.
            if ["grpc.health.v1.Health", "kontiki.store.v1.Diagnosis"]
                .contains(&service.full_name())
            {
                continue;
            }
            for method in service.methods() {
                let name = format!("{}/{}", service.full_name(), method.name());
                // etcd has none for it either.
                if method.name() == "RangeStream" {
                    continue;
                }
                assert!(
                    routes::ROUTES.iter().any(|(_, method)| *method == name),
                    "{name} has no path"
                );
            }
        }
        for (path, method) in routes::ROUTES {
            assert!(descriptor(method).is_some(), "{path}: no {method}");
        }
    }

    #[test]
    fn messages_are_read_in_either_spelling_and_written_in_the_protobufs() {
        let input = descriptor("etcdserverpb.KV/Range")
            .expect("a method")
            .input();
        let json = json!({"key": "Zm9v", "rangeEnd": "AA==", "sort_order": "DESCEND", "limit": "5", "unheard": 1});
        let framed = encode(&input, json).expect("a message");
        let back = decode(&input, framed.slice(5..)).expect("JSON");
        assert_eq!(
            back,
            json!({"key": "Zm9v", "range_end": "AA==", "sort_order": "DESCEND", "limit": "5"})
        );
        for wrong in [json!([]), json!({"key": 1}), json!({"limit": "x"})] {
            assert!(encode(&input, wrong.clone()).is_err(), "{wrong}");
        }
    }
}

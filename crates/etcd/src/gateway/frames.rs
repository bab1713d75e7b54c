//! Documents in, frames of gRPC between, frames out again.

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::VecDeque;
use tonic::Status;

/// Whether it is compressed, and the length of the message.
const HEADER_BYTES: usize = 5;

/// A message as gRPC sends it.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("requests are far smaller than 4 GiB"));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The messages of a response; the status that ends it comes last, if it is an error.
pub(super) struct Frames {
    body: Body,
    buffered: BytesMut,
    ended: Option<Option<Status>>,
}

impl Frames {
    pub(super) fn new(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        // A call that failed outright has its status among the headers.
        let refused = Status::from_header_map(&parts.headers);
        Self {
            body,
            buffered: BytesMut::new(),
            ended: refused.map(into_error),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if let Some(message) = self.buffered_message() {
                return Some(Ok(message));
            }
            if let Some(ended) = &mut self.ended {
                return ended.take().map(Err);
            }
            match self.body.frame().await {
                None => self.ended = Some(None),
                Some(Err(error)) => {
                    self.ended = Some(Some(Status::unavailable(error.to_string())));
                }
                Some(Ok(part)) => match part.into_data() {
                    Ok(data) => self.buffered.extend_from_slice(&data),
                    Err(part) => {
                        let trailers = part.into_trailers().unwrap_or_default();
                        self.ended = Status::from_header_map(&trailers).map(into_error);
                    }
                },
            }
        }
    }

    fn buffered_message(&mut self) -> Option<Bytes> {
        let header = self.buffered.get(1..HEADER_BYTES)?;
        let length = u32::from_be_bytes(header.try_into().expect("four bytes"));
        let whole = HEADER_BYTES.checked_add(usize::try_from(length).ok()?)?;
        if self.buffered.len() < whole {
            return None;
        }
        let mut message = self.buffered.split_to(whole);
        message.advance(HEADER_BYTES);
        Some(message.freeze())
    }
}

fn into_error(status: Status) -> Option<Status> {
    (status.code() != tonic::Code::Ok).then_some(status)
}

/// JSON documents one after the other, as they come in.
struct Documents {
    body: BodyDataStream,
    buffered: BytesMut,
    ready: VecDeque<Value>,
    document_bytes_max: usize,
    over: bool,
}

/// The messages of the documents in `body`, framed. What is no document ends them.
pub(super) fn documents(
    body: Body,
    document_bytes_max: usize,
    encode: impl Fn(Value) -> Result<Bytes, Status> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    let documents = Documents {
        body: body.into_data_stream(),
        buffered: BytesMut::new(),
        ready: VecDeque::new(),
        document_bytes_max,
        over: false,
    };
    futures::stream::unfold(Some((documents, encode)), |state| async move {
        let (mut documents, encode) = state?;
        let framed = documents.next().await?.and_then(&encode);
        let go_on = framed.is_ok().then_some((documents, encode));
        Some((framed, go_on))
    })
}

impl Documents {
    async fn next(&mut self) -> Option<Result<Value, Status>> {
        loop {
            if let Some(document) = self.ready.pop_front() {
                return Some(Ok(document));
            }
            if self.over {
                let rest = !self.buffered.trim_ascii().is_empty();
                self.buffered.clear();
                return rest.then(|| Err(Status::invalid_argument("the document is cut off")));
            }
            match self.body.next().await {
                None => self.over = true,
                Some(Err(error)) => return Some(Err(Status::unavailable(error.to_string()))),
                Some(Ok(part)) => {
                    self.buffered.extend_from_slice(&part);
                    if let Err(status) = self.take_whole() {
                        return Some(Err(status));
                    }
                }
            }
        }
    }

    fn take_whole(&mut self) -> Result<(), Status> {
        let mut found = serde_json::Deserializer::from_slice(&self.buffered).into_iter::<Value>();
        let mut taken = 0;
        loop {
            match found.next() {
                Some(Ok(document)) => {
                    self.ready.push_back(document);
                    taken = found.byte_offset();
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
                _ => break,
            }
        }
        self.buffered.advance(taken);
        if self.buffered.len() > self.document_bytes_max {
            let max = self.document_bytes_max;
            return Err(Status::resource_exhausted(format!(
                "a document is longer than {max} bytes"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(parts: &[&'static str]) -> Vec<Result<Value, tonic::Code>> {
        let parts: Vec<Result<_, std::convert::Infallible>> =
            parts.iter().map(|part| Ok(*part)).collect();
        let body = Body::from_stream(futures::stream::iter(parts));
        documents(body, 20, |json| Ok(Bytes::from(json.to_string())))
            .map(|framed| match framed {
                Ok(bytes) => Ok(serde_json::from_slice(&bytes).expect("JSON")),
                Err(status) => Err(status.code()),
            })
            .collect()
            .await
    }

    #[tokio::test]
    async fn documents_are_read_however_they_are_cut() {
        let (one, two) = (serde_json::json!({"a": 1}), serde_json::json!({"b": "}"}));
        for parts in [
            &[r#"{"a":1}{"b":"}"}"#][..],
            &[r#"{"a""#, r#":1}"#, "\n", r#"{"b":"}"#, r#""} "#],
        ] {
            assert_eq!(read(parts).await, [Ok(one.clone()), Ok(two.clone())]);
        }
        assert_eq!(
            read(&[r#"{"a":1}{"b"#]).await,
            [Ok(one), Err(tonic::Code::InvalidArgument)]
        );
        assert_eq!(read(&["{]"]).await, [Err(tonic::Code::InvalidArgument)]);
        assert_eq!(
            read(&[r#"{"a":"0123456789"#, "012345678901"]).await,
            [Err(tonic::Code::ResourceExhausted)]
        );
    }

    #[tokio::test]
    async fn frames_are_put_together_and_the_status_comes_last() {
        let mut bytes = frame(b"one").to_vec();
        bytes.extend_from_slice(&frame(b""));
        let parts: Vec<Result<Bytes, std::convert::Infallible>> = bytes
            .chunks(3)
            .map(|part| Ok(part.to_vec().into()))
            .collect();
        let response = Response::new(Body::from_stream(futures::stream::iter(parts)));
        let mut frames = Frames::new(response);
        assert_eq!(frames.next().await.expect("one").expect("data"), "one");
        assert_eq!(frames.next().await.expect("two").expect("data"), "");
        assert!(frames.next().await.is_none());
        let refused = Status::not_found("gone").into_http::<Body>();
        let mut frames = Frames::new(refused);
        let told = frames.next().await.expect("a status").expect_err("refused");
        assert_eq!(
            (told.code(), told.message()),
            (tonic::Code::NotFound, "gone")
        );
        assert!(frames.next().await.is_none());
    }
}

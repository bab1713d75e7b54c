//! The envelope around stored and sent objects: `k8s\0` and a
//! `runtime.Unknown` that names the kind.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;

use super::wire::{BYTES, Reader, put_bytes, put_message};
use super::{ProtobufError, encode};
use crate::table::{Schema, TypeRef};

/// The first bytes of an envelope.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// An opened envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// The message.
    pub raw: &'a [u8],
    /// How the message is written; empty for protobuf.
    pub content_type: String,
}

impl Envelope<'_> {
    /// Writes kind and version into the object.
    pub(super) fn stamp(&self, value: &mut Value) {
        if let Value::Object(object) = value {
            object.insert(
                "apiVersion".to_owned(),
                Value::String(self.api_version.clone()),
            );
            object.insert("kind".to_owned(), Value::String(self.kind.clone()));
        }
    }
}

/// Whether the bytes begin with an envelope.
#[must_use]
pub fn has_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Opens an envelope without decoding the object.
///
/// # Errors
/// When there is no envelope, or it is cut short.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let mut envelope = Envelope {
        api_version: String::new(),
        kind: String::new(),
        raw: &[],
        content_type: String::new(),
    };
    let mut reader = Reader::new(body);
    while let Some(member) = reader.next()? {
        if member.wire_type != BYTES {
            continue;
        }
        match member.tag {
            1 => {
                let mut meta = Reader::new(member.bytes);
                while let Some(part) = meta.next()? {
                    match part.tag {
                        1 => envelope.api_version = text(part.bytes)?,
                        2 => envelope.kind = text(part.bytes)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = member.bytes,
            4 => envelope.content_type = text(member.bytes)?,
            _ => {}
        }
    }
    Ok(envelope)
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    let invalid = |_| ProtobufError::Invalid {
        member: "typeMeta",
        what: "UTF-8",
    };
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(invalid)
}

/// Wraps a message.
#[must_use]
pub fn seal(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    write(api_version, kind, message.len(), |out| {
        out.extend_from_slice(message);
        Ok::<(), ProtobufError>(())
    })
    .expect("copying bytes cannot fail")
}

fn write<E>(
    api_version: &str,
    kind: &str,
    size: usize,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Bytes, E> {
    let mut out = Vec::with_capacity(size + 64);
    out.extend_from_slice(MAGIC);
    put_message(&mut out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
        Ok(())
    })?;
    put_message(&mut out, 2, body)?;
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    Ok(out.into())
}

/// Encodes an object, whose `apiVersion` and `kind` say what it is, with its
/// envelope.
///
/// # Errors
/// When the kind has no protobuf form or a member has a wrong type.
pub fn encode_object(value: &Value) -> Result<Bytes, ProtobufError> {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    let ty = known(api_version, kind)?;
    encode_object_as(ty, api_version, kind, value)
}

/// Encodes an object of a known type with its envelope.
///
/// # Errors
/// When a member has a wrong type.
pub fn encode_object_as(
    ty: TypeRef,
    api_version: &str,
    kind: &str,
    value: &Value,
) -> Result<Bytes, ProtobufError> {
    write(api_version, kind, 512, |out| {
        encode::message(ty, value, out)
    })
}

/// Decodes an object with its envelope.
///
/// # Errors
/// When the bytes are no such object, or its kind is unknown.
pub fn decode_object(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = open(bytes)?;
    if envelope.content_type == "application/json" {
        return serde_json::from_slice(envelope.raw).map_err(|_| ProtobufError::Invalid {
            member: "raw",
            what: "JSON",
        });
    }
    let ty = known(&envelope.api_version, &envelope.kind)?;
    let mut value = super::decode(ty, envelope.raw)?;
    envelope.stamp(&mut value);
    Ok(value)
}

fn known(api_version: &str, kind: &str) -> Result<TypeRef, ProtobufError> {
    Schema::get()
        .type_for_api_version(api_version, kind)
        .filter(|ty| ty.has_protobuf)
        .ok_or_else(|| ProtobufError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })
}

/// A frame of a protobuf watch: its length in four bytes, then a bare
/// `WatchEvent` whose object has an envelope.
#[must_use]
pub fn watch_frame(event: &str, object: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(object.len() + 32);
    put_bytes(&mut message, 1, event.as_bytes());
    put_message(&mut message, 2, |out| {
        put_bytes(out, 1, object);
        Ok::<(), ProtobufError>(())
    })
    .expect("copying bytes cannot fail");
    let mut frame = BytesMut::with_capacity(message.len() + 4);
    frame.put_u32(u32::try_from(message.len()).expect("objects are smaller than 4 GiB"));
    frame.extend_from_slice(&message);
    frame.freeze()
}

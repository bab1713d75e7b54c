//! Kubernetes' protobuf form of objects, driven by the table.
//!
//! Members without a protobuf tag are JSON's alone (`apiVersion`, `kind`): the
//! envelope carries them. Unknown tags are skipped, as protobuf wants.
//!
//! **Invariant:** decoding any bytes ends, without a panic, within a bounded
//! depth and a number of messages bounded by the length of the input.

mod complete;
mod decode;
mod encode;
mod envelope;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;
use thiserror::Error;

pub use complete::is_complete;
pub use envelope::{
    Envelope, MAGIC, decode_object, encode_object, encode_object_as, has_envelope, open, seal,
    watch_frame,
};

use crate::table::TypeRef;

/// Messages may nest this deep.
pub const DEPTH_MAX: usize = 100;

/// Why bytes or an object have no other form.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProtobufError {
    /// The bytes end inside a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number does not end.
    #[error("proto: integer overflow")]
    Overflow,
    /// A tag with a wire type that nothing has.
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    /// The wire type is not that of the member.
    #[error("proto: wrong wireType = {wire_type} for field {member}")]
    WrongWireType {
        /// The member.
        member: &'static str,
        /// The wire type found.
        wire_type: u8,
    },
    /// Text that is not UTF-8, or embedded JSON that is none.
    #[error("proto: field {member} contains invalid {what}")]
    Invalid {
        /// The member.
        member: &'static str,
        /// What it should be.
        what: &'static str,
    },
    /// Nested too deep, or too many messages for so few bytes.
    #[error("proto: the message is nested too deep or too sparse")]
    Unreasonable,
    /// The bytes have no envelope.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoEnvelope,
    /// The kind is unknown here or has no protobuf form.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// The version asked for.
        api_version: String,
        /// The kind asked for.
        kind: String,
    },
    /// The object has a value of another type than its member.
    #[error("{member} is not {expected}")]
    Mismatch {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// Encodes an object as a bare message of its type.
///
/// # Errors
/// When a member's value has another type than the member.
pub fn encode(ty: TypeRef, value: &Value) -> Result<Bytes, ProtobufError> {
    let mut out = Vec::with_capacity(512);
    encode::message(ty, value, &mut out)?;
    Ok(out.into())
}

/// Decodes a bare message into the object that the JSON API would show.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode(ty: TypeRef, bytes: &[u8]) -> Result<Value, ProtobufError> {
    decode::message(ty, bytes)
}

//! The primitives of the binary encodings: varints, byte strings, a reader
//! that shares its input.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends too early.
    #[error("encoded command ends too early")]
    Truncated,
    /// A number takes more than ten bytes.
    #[error("encoded number is too long")]
    BadNumber,
    /// A field holds a value that no version of this program writes.
    #[error("{field} has the unknown value {value}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The encoding's version is not known.
    #[error("encoding version {0} was written by a newer program; upgrade this one")]
    UnknownVersion(u8),
    /// The command is not known.
    #[error("command kind {0} was written by a newer program; upgrade this one")]
    UnknownCommand(u8),
    /// Transactions are nested too deeply.
    #[error("transactions are nested too deeply")]
    TooDeep,
    /// There are bytes after the end.
    #[error("{0} bytes follow the end of the encoding")]
    TrailingBytes(usize),
}

pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Signed numbers are nearly always small and positive; a negative one takes ten bytes.
pub(crate) fn put_signed(out: &mut impl BufMut, value: i64) {
    put_varint(out, value as u64);
}

pub(crate) fn put_bytes(out: &mut BytesMut, value: &[u8]) {
    put_varint(out, value.len() as u64);
    out.put_slice(value);
}

/// Reads from a buffer; byte strings are slices of it.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(input: Bytes) -> Self {
        Self { rest: input }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let first = *self.rest.first().ok_or(DecodeError::Truncated)?;
        let _ = self.rest.split_to(1);
        Ok(first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, used) = read_varint(&self.rest)?;
        let _ = self.rest.split_to(used);
        Ok(value)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        Ok(self.varint()? as i64)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::BadNumber)?;
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    /// A count of things of which each takes at least one byte: it cannot be
    /// larger than what is left, so a bad one never reserves memory.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::BadNumber)?;
        if count > self.rest.len() {
            Err(DecodeError::Truncated)
        } else {
            Ok(count)
        }
    }

    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes(self.rest.len()))
        }
    }
}

/// A number and how many bytes it took.
pub(crate) fn read_varint(input: &[u8]) -> Result<(u64, usize), DecodeError> {
    let mut value = 0u64;
    for (at, byte) in input.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(if input.len() < 10 {
        DecodeError::Truncated
    } else {
        DecodeError::BadNumber
    })
}

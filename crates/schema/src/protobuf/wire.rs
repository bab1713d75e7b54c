//! Protobuf's own alphabet: varints, tags and lengths.

use super::ProtobufError;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag.
pub(crate) fn put_tag(out: &mut Vec<u8>, tag: u32, wire_type: u8) {
    put_varint(out, u64::from(tag) << 3 | u64::from(wire_type));
}

/// Appends a member of bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_tag(out, tag, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a number.
pub(crate) fn put_number(out: &mut Vec<u8>, tag: u32, value: i64) {
    put_tag(out, tag, VARINT);
    put_varint(out, value as u64);
}

/// Appends a message whose length is known only once `write` has written it.
/// Most are shorter than 128 bytes, so one byte is kept for the length.
pub(crate) fn put_message<E>(
    out: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(out, tag, BYTES);
    let start = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, length as u64);
    out.splice(start..=start, prefix);
    Ok(())
}

/// Bytes being read.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// One member: its tag, wire type and content.
pub(crate) struct Member<'a> {
    pub tag: u32,
    pub wire_type: u8,
    /// The number of a varint or fixed member.
    pub number: u64,
    /// The content of a member of bytes.
    pub bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(ProtobufError::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next member, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Member<'a>>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire_type = (key & 7) as u8;
        let tag = u32::try_from(key >> 3).map_err(|_| ProtobufError::Overflow)?;
        let mut member = Member {
            tag,
            wire_type,
            number: 0,
            bytes: &[],
        };
        match wire_type {
            VARINT => member.number = self.varint()?,
            FIXED64 => {
                let bytes = self.take(8)?;
                member.number =
                    u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
            }
            BYTES => {
                let length =
                    usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
                member.bytes = self.take(length)?;
            }
            FIXED32 => {
                let bytes = self.take(4)?;
                member.number = u64::from(u32::from_le_bytes(
                    bytes.try_into().expect("four bytes were taken"),
                ));
            }
            other => return Err(ProtobufError::WireType(other)),
        }
        Ok(Some(member))
    }
}

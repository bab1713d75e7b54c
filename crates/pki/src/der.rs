//! The little of ASN.1's distinguished encoding that certificates need.
//!
//! Written here because a distinguished name may hold several organizations
//! (they are the user's groups), which certificate builders do not offer.

use jiff::Timestamp;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const UTF8_STRING: u8 = 0x0c;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// One element: tag, length, content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            let length = &bytes[skip..];
            out.push(0x80 | u8::try_from(length.len()).expect("a length has at most 8 bytes"));
            out.extend_from_slice(length);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A constructed element.
pub fn constructed(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    constructed(SEQUENCE, parts)
}

/// `[number] EXPLICIT`.
pub fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// A positive integer from big-endian bytes.
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut content = bytes[skip..].to_vec();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    element(INTEGER, &content)
}

/// An object identifier from its numbers.
pub fn oid(arcs: &[u32]) -> Vec<u8> {
    let (head, rest) = arcs.split_at(2);
    let mut content = Vec::new();
    for arc in std::iter::once(head[0] * 40 + head[1]).chain(rest.iter().copied()) {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut left = arc >> 7;
        while left > 0 {
            groups.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        groups.reverse();
        content.extend(groups);
    }
    element(OBJECT_IDENTIFIER, &content)
}

/// A bit string of whole bytes.
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    let mut content = vec![0];
    content.extend_from_slice(bytes);
    element(BIT_STRING, &content)
}

/// A bit string of named flags, bit 0 first, without trailing zeros.
pub fn flags(set: u16) -> Vec<u8> {
    let reversed = set.reverse_bits().to_be_bytes();
    let used = 16 - set.leading_zeros() as usize;
    let bytes = used.div_ceil(8);
    let mut content = vec![u8::try_from(bytes * 8 - used).expect("below 8")];
    content.extend_from_slice(&reversed[..bytes]);
    element(BIT_STRING, &content)
}

/// A point in time: two-digit years until 2049, as RFC 5280 demands.
pub fn time(at: Timestamp) -> Vec<u8> {
    let text = at.strftime("%Y%m%d%H%M%SZ").to_string();
    if *text < *"2050" {
        element(UTC_TIME, &text.as_bytes()[2..])
    } else {
        element(GENERALIZED_TIME, text.as_bytes())
    }
}

/// Text, in the narrowest string type that holds it.
pub fn text(value: &str) -> Vec<u8> {
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    let tag = if value.bytes().all(printable) {
        PRINTABLE_STRING
    } else {
        UTF8_STRING
    };
    element(tag, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_encoded_as_the_standard_says() {
        assert_eq!(element(OCTET_STRING, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(element(OCTET_STRING, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(element(OCTET_STRING, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(
            oid(&[1, 2, 840, 113_549]),
            [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]
        );
        // digitalSignature and keyEncipherment; keyCertSign and cRLSign.
        assert_eq!(flags(0b101), [3, 2, 5, 0xa0]);
        assert_eq!(flags(0b110_0000), [3, 2, 1, 6]);
        assert_eq!(flags(1 << 8), [3, 3, 7, 0, 0x80]);
    }

    #[test]
    fn years_from_2050_on_have_four_digits() {
        let at = |text: &str| time(text.parse().expect("a time"));
        assert_eq!(&at("2049-12-31T23:59:59Z")[2..], b"491231235959Z");
        assert_eq!(&at("2050-01-01T00:00:00Z")[2..], b"20500101000000Z");
    }
}

//! How the state lies in the engine.
//!
//! Everything but the root lies in one of two slots. A snapshot is installed
//! into the slot that is not in use, then the root is switched: whatever a
//! crash leaves, the root points at complete content.
//!
//! | space   | key                                   | value |
//! |---------|---------------------------------------|-------|
//! | Meta    | `root`                                | format, slot |
//! | Meta    | slot, name                            | see [`meta`] |
//! | Keys    | slot, escaped key, !revision          | a [`Record`] |
//! | Changes | slot, revision, number in transaction | kind, key |
//! | Current | slot, key                             | the [`KeyMeta`] |
//!
//! The complemented revision puts a key's newest version first, so "the
//! version at a revision" is one seek and the one before it is the next item.

use crate::codec::{DecodeError, Reader, put_signed, read_varint};
use crate::engine::EngineError;
use crate::index::KeyMeta;
use bytes::{BufMut, Bytes, BytesMut};
use kontiki_store::{EventKind, LeaseId, Revision};

/// Raised when the layout changes so that an older program must not touch it.
pub(crate) const FORMAT: u8 = 1;

pub(crate) const ROOT: &[u8] = b"root";

/// Names in the Meta space, after the slot byte.
pub(crate) mod meta {
    /// The caller's own position, opaque.
    pub(crate) const APPLIED: &[u8] = b"applied";
    /// Revision, compacted revision, term, feature level.
    pub(crate) const STATE: &[u8] = b"state";
    /// Users and roles.
    pub(crate) const AUTH: &[u8] = b"auth";
    /// How far the physical side of the compaction has come.
    pub(crate) const SWEPT: &[u8] = b"swept";
    /// Prefix of leases, followed by the id.
    pub(crate) const LEASE: &[u8] = b"lease/";
    /// Prefix of the cluster's own data.
    pub(crate) const CLUSTER: &[u8] = b"cluster/";
}

pub(crate) fn damaged(what: &str, why: impl ToString) -> EngineError {
    EngineError::damaged(format!("reading {what}"), why)
}

pub(crate) fn meta_key(slot: u8, name: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + name.len() + rest.len());
    out.push(slot);
    out.extend_from_slice(name);
    out.extend_from_slice(rest);
    out
}

/// Everything of a key but the revision. A zero byte becomes `00 FF`, the end
/// is `00 01`, so that the order of the keys is kept and no key's versions
/// lie among another's.
pub(crate) fn versions_prefix(slot: u8, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 11);
    put_versions_prefix(&mut out, slot, key);
    out
}

fn put_versions_prefix(out: &mut Vec<u8>, slot: u8, key: &[u8]) {
    out.push(slot);
    for part in key.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.ends_with(&[0]) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

pub(crate) fn version_key(slot: u8, key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 11);
    put_version_key(&mut out, slot, key, revision);
    out
}

/// Appends it, for callers that need many and keep none.
pub(crate) fn put_version_key(out: &mut Vec<u8>, slot: u8, key: &[u8], revision: Revision) {
    put_versions_prefix(out, slot, key);
    out.extend_from_slice(&(!revision).to_be_bytes());
}

/// The first possible key after all versions of `key`.
pub(crate) fn after_versions(slot: u8, key: &[u8]) -> Vec<u8> {
    let mut out = versions_prefix(slot, key);
    out.pop();
    out.push(2);
    out
}

/// The first possible key of the versions of `key` and everything after it.
pub(crate) fn versions_from(slot: u8, key: &[u8]) -> Vec<u8> {
    versions_prefix(slot, key)
}

/// Takes a version key apart: key and revision.
pub(crate) fn parse_version_key(raw: &[u8]) -> Result<(Vec<u8>, Revision), EngineError> {
    let bad = || {
        damaged(
            "a version's key",
            format!("{} is not one", raw.escape_ascii()),
        )
    };
    let (body, revision) = raw.split_last_chunk::<8>().ok_or_else(bad)?;
    let body = body
        .get(1..)
        .and_then(|body| body.strip_suffix(&[0, 1]))
        .ok_or_else(bad)?;
    let mut key = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return Err(bad());
        }
    }
    Ok((key, !Revision::from_be_bytes(*revision)))
}

/// The revision of a version key whose key is known.
pub(crate) fn version_revision(raw: &[u8]) -> Result<Revision, EngineError> {
    let (_, revision) = raw
        .split_last_chunk::<8>()
        .ok_or_else(|| damaged("a version's key", "it is too short"))?;
    Ok(!Revision::from_be_bytes(*revision))
}

pub(crate) fn change_key(slot: u8, revision: Revision, number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(13);
    out.push(slot);
    out.extend_from_slice(&revision.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out
}

pub(crate) fn parse_change_key(raw: &[u8]) -> Result<Revision, EngineError> {
    raw.get(1..9)
        .and_then(|revision| revision.try_into().ok())
        .map(Revision::from_be_bytes)
        .ok_or_else(|| damaged("a change's key", "it is too short"))
}

/// Revision and number.
pub(crate) fn parse_change_position(raw: &[u8]) -> Result<(Revision, u32), EngineError> {
    let number = raw
        .get(9..)
        .and_then(|number| number.try_into().ok())
        .map(u32::from_be_bytes);
    let number = number.ok_or_else(|| damaged("a change's key", "it has the wrong length"))?;
    Ok((parse_change_key(raw)?, number))
}

pub(crate) fn encode_change(kind: EventKind, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(kind_byte(kind));
    out.extend_from_slice(key);
    out
}

pub(crate) fn decode_change(raw: &[u8]) -> Result<(EventKind, &[u8]), EngineError> {
    let (kind, key) = raw
        .split_first()
        .ok_or_else(|| damaged("a change", "it is empty"))?;
    Ok((kind_from(*kind)?, key))
}

fn kind_byte(kind: EventKind) -> u8 {
    match kind {
        EventKind::Put => 0,
        EventKind::Delete => 1,
    }
}

fn kind_from(byte: u8) -> Result<EventKind, EngineError> {
    match byte {
        0 => Ok(EventKind::Put),
        1 => Ok(EventKind::Delete),
        byte => Err(damaged("a change", format!("unknown kind {byte}"))),
    }
}

/// One version of a key without key and revision, which its engine key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: EventKind,
    pub(crate) create_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) value: Bytes,
}

impl Record {
    pub(crate) fn encode(kind: EventKind, meta: &KeyMeta, value: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(value.len() + 16);
        out.put_u8(kind_byte(kind));
        if kind == EventKind::Put {
            put_signed(&mut out, meta.create_revision);
            put_signed(&mut out, meta.version);
            put_signed(&mut out, meta.lease);
            out.put_slice(value);
        }
        out.freeze()
    }

    /// The value is a slice of `raw`.
    pub(crate) fn decode(raw: Bytes) -> Result<Self, EngineError> {
        let broken = |error: DecodeError| damaged("a version", error);
        let mut input = Reader::new(raw);
        let kind = kind_from(input.byte().map_err(broken)?)?;
        if kind == EventKind::Delete {
            return Ok(Self {
                kind,
                create_revision: 0,
                version: 0,
                lease: 0,
                value: Bytes::new(),
            });
        }
        let create_revision = input.signed().map_err(broken)?;
        let version = input.signed().map_err(broken)?;
        let lease = input.signed().map_err(broken)?;
        Ok(Self {
            kind,
            create_revision,
            version,
            lease,
            value: input.rest(),
        })
    }

    /// Kind and numbers only, without touching the value.
    pub(crate) fn peek(raw: &[u8]) -> Result<(EventKind, Revision, i64, LeaseId), EngineError> {
        let (kind, [create_revision, version, lease], _) = Self::split(raw)?;
        Ok((kind, create_revision, version, lease))
    }

    /// The value alone; empty for a deletion.
    pub(crate) fn peek_value(raw: &[u8]) -> Result<&[u8], EngineError> {
        Ok(Self::split(raw)?.2)
    }

    fn split(raw: &[u8]) -> Result<(EventKind, [i64; 3], &[u8]), EngineError> {
        let broken = |error: DecodeError| damaged("a version", error);
        let (kind, mut rest) = raw
            .split_first()
            .ok_or_else(|| damaged("a version", "it is empty"))?;
        let kind = kind_from(*kind)?;
        if kind == EventKind::Delete {
            return Ok((kind, [0; 3], &[]));
        }
        let mut numbers = [0i64; 3];
        for number in &mut numbers {
            let (value, used) = read_varint(rest).map_err(broken)?;
            *number = value as i64;
            rest = &rest[used..];
        }
        Ok((kind, numbers, rest))
    }
}

pub(crate) fn encode_meta(meta: &KeyMeta) -> Bytes {
    encode_numbers(&[
        meta.create_revision,
        meta.mod_revision,
        meta.version,
        meta.lease,
    ])
}

pub(crate) fn decode_meta(raw: &[u8]) -> Result<KeyMeta, EngineError> {
    let [create_revision, mod_revision, version, lease] = decode_numbers("a live key", raw)?;
    Ok(KeyMeta {
        create_revision,
        mod_revision,
        version,
        lease,
    })
}

pub(crate) fn encode_numbers(numbers: &[i64]) -> Bytes {
    let mut out = BytesMut::with_capacity(numbers.len() * 3);
    for number in numbers {
        put_signed(&mut out, *number);
    }
    out.freeze()
}

pub(crate) fn decode_numbers<const N: usize>(
    what: &str,
    mut raw: &[u8],
) -> Result<[i64; N], EngineError> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (value, used) = read_varint(raw).map_err(|error| damaged(what, error))?;
        *number = value as i64;
        raw = &raw[used..];
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Random;

    #[test]
    fn version_keys_sort_by_key_and_then_newest_first_and_parse_back() {
        let mut random = Random::new(7);
        let mut versions: Vec<(Vec<u8>, Revision)> = (0..2000)
            .map(|_| {
                let len = random.below(4);
                let key = (0..len)
                    .map(|_| [0, 1, 2, 0xfe, 0xff][random.below(5)])
                    .collect();
                (key, random.below(50) as Revision)
            })
            .collect();
        versions.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        versions.dedup();
        let raw: Vec<_> = versions
            .iter()
            .map(|(key, revision)| version_key(3, key, *revision))
            .collect();
        assert!(raw.is_sorted());
        for (raw, version) in raw.iter().zip(&versions) {
            assert_eq!(parse_version_key(raw).expect("it was made here"), *version);
            assert!(*raw < after_versions(3, &version.0) && *raw > versions_from(3, &version.0));
        }
    }
}

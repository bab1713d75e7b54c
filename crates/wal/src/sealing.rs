//! Sealed payloads: what a record says, encrypted for the place it has.
//!
//! A segment is sealed as a whole or not at all; its header's version says which.
//! The checksums cover what lies on the disk, so that what a crash leaves is told
//! from damage without any key.

use crate::WalError;
use crate::format::{Kind, Record};
use kontiki_seal::{Keyring, Unsealing};
use std::borrow::Cow;

/// What a record's payload is sealed for: nothing else opens it.
fn place(segment: u64, offset: u64, kind: Kind, index: u64) -> [u8; 26] {
    let mut place = [0; 26];
    place[0] = b'w';
    place[1] = kind.number();
    place[2..10].copy_from_slice(&segment.to_le_bytes());
    place[10..18].copy_from_slice(&offset.to_le_bytes());
    place[18..].copy_from_slice(&index.to_le_bytes());
    place
}

/// A payload as it goes to the disk.
pub(crate) fn seal<'a>(
    keys: Option<&Keyring>,
    (segment, offset): (u64, u64),
    kind: Kind,
    index: u64,
    payload: &'a [u8],
) -> Cow<'a, [u8]> {
    match keys {
        Some(keys) => keys
            .seal(&place(segment, offset, kind, index), payload)
            .into(),
        None => payload.into(),
    }
}

/// The payload of a record of a segment that is sealed, or is not.
pub(crate) fn unseal<'a>(
    keys: Option<&Keyring>,
    sealed: bool,
    (segment, offset): (u64, u64),
    record: &Record<'a>,
    file: &str,
) -> Result<Cow<'a, [u8]>, WalError> {
    if !sealed {
        return Ok(record.payload.into());
    }
    let keys = keys.ok_or_else(|| WalError::Sealed {
        file: file.to_owned(),
        reason: "no encryption key is configured".to_owned(),
    })?;
    let place = place(segment, offset, record.kind, record.index);
    match keys.unseal(&place, record.payload) {
        Ok(plain) => Ok(plain.into()),
        Err(error @ Unsealing::UnknownKey(_)) => Err(WalError::Sealed {
            file: file.to_owned(),
            reason: error.to_string(),
        }),
        Err(Unsealing::Wrong) => Err(WalError::Corrupt {
            file: file.to_owned(),
            offset,
            reason: "a record was altered: its seal does not hold".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_record_that_was_altered_with_its_checksums_made_right_is_damage() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys.yaml");
        let secret = base64::engine::general_purpose::STANDARD.encode([1; 32]);
        std::fs::write(&path, format!("keys: [{{name: a, secret: {secret}}}]")).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("set");
        let keys = Keyring::open(&dir.path().join("KEYS"), &path).expect("new");
        let sealed = seal(Some(&keys), (1, 40), Kind::Entry, 7, b"payload").into_owned();
        let record = |kind, index, payload| Record {
            kind,
            batch_start: true,
            index,
            payload,
        };
        let opened = |place, record: &Record<'_>| {
            unseal(Some(&keys), true, place, record, "f").map(Cow::into_owned)
        };
        let whole = record(Kind::Entry, 7, &sealed);
        assert_eq!(opened((1, 40), &whole), Ok(b"payload".to_vec()));
        let mut altered = sealed.clone();
        *altered.last_mut().expect("not empty") ^= 1;
        for (place, record) in [
            ((1, 40), record(Kind::Entry, 7, &altered)),
            ((1, 40), record(Kind::Entry, 8, &sealed)),
            ((1, 40), record(Kind::State, 7, &sealed)),
            ((1, 41), record(Kind::Entry, 7, &sealed)),
            ((2, 40), record(Kind::Entry, 7, &sealed)),
        ] {
            let refused = opened(place, &record);
            assert!(
                matches!(refused, Err(WalError::Corrupt { .. })),
                "{place:?}"
            );
        }
    }
}

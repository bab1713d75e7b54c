//! Reading the segments back at start.

use crate::format::{
    Kind, SEGMENT_HEADER_BYTES, Unreadable, batch_starts_after, check_segment_header, looks_torn,
    parse_record,
};
use crate::sealing::unseal;
use crate::view::{Durable, Place};
use crate::{DiskFile, WalError};
use bytes::Bytes;
use kontiki_seal::Keyring;

/// Replays one segment into `durable` and answers how many bytes of it are
/// good, and whether it is sealed. In the last segment an unfinished last write is not good; anywhere
/// else it is an error.
pub(crate) fn replay_segment(
    durable: &mut Durable,
    keys: Option<&Keyring>,
    file: &dyn DiskFile,
    name: &str,
    segment: u64,
    is_last: bool,
) -> Result<(u64, bool), WalError> {
    let read = |error| WalError::io(name, "read", &error);
    let len = file.len().map_err(read)?;
    let mut data = vec![0; usize::try_from(len).expect("segments fit in memory")];
    file.read_at(0, &mut data).map_err(read)?;
    let sealed = check_segment_header(&data, name, segment)?;

    let mut at = SEGMENT_HEADER_BYTES;
    while at < data.len() {
        let record = match parse_record(&data[at..], segment, at as u64) {
            Ok(record) => record,
            Err(unreadable) => {
                judge(&data, name, segment, at, unreadable, is_last)?;
                return Ok((at as u64, sealed));
            }
        };
        let corrupt = |reason: String| WalError::Corrupt {
            file: name.to_owned(),
            offset: at as u64,
            reason,
        };
        let place = (segment, at as u64);
        let payload = unseal(keys, sealed, place, &record, name)?;
        match record.kind {
            Kind::Entry => {
                // Where older segments were removed, the first entry stands anywhere.
                if durable.places.is_empty() && record.index >= durable.first {
                    durable.first = record.index;
                }
                if record.index != durable.next() {
                    return Err(corrupt(format!(
                        "entry {} where entry {} belongs",
                        record.index,
                        durable.next()
                    )));
                }
                durable.push(Place {
                    segment,
                    offset: at as u64,
                    payload_len: u32::try_from(record.payload.len()).expect("was written as a u32"),
                    sealed,
                });
            }
            Kind::State => {
                let slot = u8::try_from(record.index)
                    .map_err(|_| corrupt(format!("state slot {}", record.index)))?;
                durable
                    .states
                    .insert(slot, Bytes::copy_from_slice(&payload));
            }
            Kind::Truncate => durable.truncate(record.index),
            Kind::Purge => durable.purge(record.index, Bytes::copy_from_slice(&payload)),
        }
        at += record.encoded_len();
    }
    Ok((at as u64, sealed))
}

/// An error unless the unreadable record at `at` is the unfinished last write.
fn judge(
    data: &[u8],
    file: &str,
    segment: u64,
    at: usize,
    unreadable: Unreadable,
    is_last: bool,
) -> Result<(), WalError> {
    let corrupt = |reason: &str| {
        Err(WalError::Corrupt {
            file: file.to_owned(),
            offset: at as u64,
            reason: reason.to_owned(),
        })
    };
    if !is_last {
        return corrupt(match unreadable {
            Unreadable::Short => "the segment ends inside a record although a newer segment exists",
            Unreadable::Wrong => {
                "a record's checksum does not match although a newer segment exists"
            }
        });
    }
    if batch_starts_after(data, segment, at) {
        return corrupt("a record's checksum does not match although newer records follow");
    }
    if !looks_torn(data, segment, at) {
        return corrupt(
            "the last record's checksum does not match although it was written in full",
        );
    }
    Ok(())
}

/// Checks what only the whole log shows: that nothing is missing at its start.
pub(crate) fn check_start(durable: &mut Durable, name: &str, oldest: u64) -> Result<(), WalError> {
    let start = durable.purged.as_ref().map_or(0, |(to, _)| to + 1);
    if durable.places.is_empty() {
        durable.first = start;
    }
    if durable.first > start || (oldest > 1 && durable.purged.is_none()) {
        let reason = format!(
            "entries {start} to {} are missing: an older segment is gone",
            durable.first
        );
        return Err(WalError::Corrupt {
            file: name.to_owned(),
            offset: 0,
            reason,
        });
    }
    Ok(())
}

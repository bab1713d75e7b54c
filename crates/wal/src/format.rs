//! The bytes on disk: segment headers and records.
//!
//! A segment is a header and records, back to back. A record is
//! `crc32c · length · kind · flags · 0 0 · index · payload`, little-endian. The
//! checksum also covers the segment's number and the record's offset, so bytes
//! that were meant for another place never pass for a record here.
//!
//! The first record of every batch (one write, one sync) is flagged. A batch is
//! written only after the one before it was synced; hence a flagged record
//! *behind* an unreadable one proves that the unreadable one was once safe.

use crate::WalError;

/// The newest format this program reads and the one it writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 40;
pub(crate) const RECORD_HEADER_BYTES: usize = 20;

const MAGIC: [u8; 8] = *b"KONTIWAL";
const FLAG_BATCH_START: u8 = 1;
const SECTOR_BYTES: usize = 512;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry under its index.
    Entry,
    /// A state slot; the index is the slot's number.
    State,
    /// Entries from the index on are gone.
    Truncate,
    /// Entries up to the index are gone; the payload is the caller's marker.
    Purge,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::State => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Entry, Self::State, Self::Truncate, Self::Purge]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// A record found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub kind: Kind,
    pub batch_start: bool,
    pub index: u64,
    pub payload: &'a [u8],
}

impl Record<'_> {
    pub(crate) fn encoded_len(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload.len()
    }
}

/// Why no record could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The segment ends before the record does.
    Short,
    /// The bytes are there and wrong.
    Wrong,
}

/// Collects records that are written together.
pub(crate) struct BatchEncoder {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl BatchEncoder {
    /// Starts a batch that will lie at `offset` of segment number `segment`.
    pub(crate) fn new(segment: u64, offset: u64) -> Self {
        Self {
            segment,
            offset,
            bytes: Vec::new(),
        }
    }

    /// Adds a record and answers its offset in the segment.
    pub(crate) fn push(&mut self, kind: Kind, index: u64, payload: &[u8]) -> u64 {
        let flags = if self.bytes.is_empty() {
            FLAG_BATCH_START
        } else {
            0
        };
        let start = self.bytes.len();
        let offset = self.offset + start as u64;
        let len =
            u32::try_from(payload.len()).expect("callers bound their payloads far below 4 GiB");
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&[kind.number(), flags, 0, 0]);
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        let crc = checksum(self.segment, offset, &self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        offset
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn checksum(segment: u64, offset: u64, rest: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), rest)
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads the record at the start of `data`, which lies at `offset` of segment number `segment`.
pub(crate) fn parse_record(
    data: &[u8],
    segment: u64,
    offset: u64,
) -> Result<Record<'_>, Unreadable> {
    if data.len() < RECORD_HEADER_BYTES {
        return Err(Unreadable::Short);
    }
    let Some(kind) = Kind::from_number(data[8]) else {
        return Err(Unreadable::Wrong);
    };
    if data[9] & !FLAG_BATCH_START != 0 || data[10] != 0 || data[11] != 0 {
        return Err(Unreadable::Wrong);
    }
    let end = RECORD_HEADER_BYTES + u32_at(data, 4) as usize;
    if data.len() < end {
        return Err(Unreadable::Short);
    }
    if checksum(segment, offset, &data[4..end]) != u32_at(data, 0) {
        return Err(Unreadable::Wrong);
    }
    Ok(Record {
        kind,
        batch_start: data[9] & FLAG_BATCH_START != 0,
        index: u64_at(data, 12),
        payload: &data[RECORD_HEADER_BYTES..end],
    })
}

/// Whether a batch begins anywhere behind `from`.
pub(crate) fn batch_starts_after(data: &[u8], segment: u64, from: usize) -> bool {
    (from + 1..data.len()).any(|at| {
        data.len() - at >= RECORD_HEADER_BYTES
            && data[at + 9] == FLAG_BATCH_START
            && parse_record(&data[at..], segment, at as u64).is_ok()
    })
}

/// Whether the unreadable record at `from` looks like a write that a crash
/// interrupted: the file ends inside it, or a sector of it was never written
/// (the log only ever appends, so such a sector reads as zeroes).
pub(crate) fn looks_torn(data: &[u8], from: usize) -> bool {
    let rest = &data[from..];
    if rest.len() < RECORD_HEADER_BYTES {
        return true;
    }
    let claimed = from + RECORD_HEADER_BYTES + u32_at(rest, 4) as usize;
    if claimed > data.len() {
        return true;
    }
    let end = if Kind::from_number(rest[8]).is_some() {
        claimed
    } else {
        data.len()
    };
    let mut at = from;
    while at < end {
        let sector_end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        if data[at..sector_end].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = sector_end;
    }
    false
}

/// The header of segment number `segment`, whose first entry will be `first_index`.
pub(crate) fn segment_header(segment: u64, first_index: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&segment.to_le_bytes());
    header[24..32].copy_from_slice(&first_index.to_le_bytes());
    let crc = crc32c::crc32c(&header[..32]);
    header[32..36].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks the header of the segment that should have number `segment`.
pub(crate) fn check_segment_header(data: &[u8], file: &str, segment: u64) -> Result<(), WalError> {
    let corrupt = |offset, reason: &str| {
        Err(WalError::Corrupt {
            file: file.to_owned(),
            offset,
            reason: reason.to_owned(),
        })
    };
    if data.len() < SEGMENT_HEADER_BYTES || data[..8] != MAGIC {
        return corrupt(0, "this is no segment of a write-ahead log");
    }
    let version = u32_at(data, 8);
    if version > FORMAT_VERSION {
        // Before the checksum: a newer format may place it elsewhere.
        return Err(WalError::NewerVersion {
            file: file.to_owned(),
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    if crc32c::crc32c(&data[..32]) != u32_at(data, 32) {
        return corrupt(32, "the header's checksum does not match");
    }
    if u64_at(data, 16) != segment {
        return corrupt(
            16,
            "the header names another segment than the file name does",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_only_at_its_own_place() {
        let mut batch = BatchEncoder::new(3, 40);
        assert_eq!(batch.push(Kind::Entry, 7, b"seven"), 40);
        assert_eq!(batch.push(Kind::Purge, 5, b""), 40 + 25);
        let first = parse_record(batch.bytes(), 3, 40).unwrap();
        assert_eq!(
            first,
            Record {
                kind: Kind::Entry,
                batch_start: true,
                index: 7,
                payload: b"seven"
            }
        );
        let second = parse_record(&batch.bytes()[25..], 3, 65).unwrap();
        assert_eq!((second.kind, second.batch_start), (Kind::Purge, false));
        assert_eq!(parse_record(batch.bytes(), 3, 41), Err(Unreadable::Wrong));
        assert_eq!(parse_record(batch.bytes(), 4, 40), Err(Unreadable::Wrong));
        assert_eq!(
            parse_record(&batch.bytes()[..24], 3, 40),
            Err(Unreadable::Short)
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut batch = BatchEncoder::new(1, 0);
        batch.push(Kind::State, 0, b"vote");
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_record(&bytes, 1, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_a_newer_version_is_told_apart_from_a_broken_one() {
        let mut header = segment_header(1, 0);
        assert_eq!(check_segment_header(&header, "f", 1), Ok(()));
        assert!(matches!(
            check_segment_header(&header, "f", 2),
            Err(WalError::Corrupt { offset: 16, .. })
        ));
        header[8] = 9;
        let newer = WalError::NewerVersion {
            file: "f".into(),
            found: 9,
            supported: FORMAT_VERSION,
        };
        assert_eq!(check_segment_header(&header, "f", 1), Err(newer));
        header[8] = 0;
        assert!(matches!(
            check_segment_header(&header, "f", 1),
            Err(WalError::Corrupt { offset: 32, .. })
        ));
    }
}

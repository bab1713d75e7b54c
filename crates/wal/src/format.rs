//! The bytes on disk: segment headers and records.
//!
//! A segment is a header and records, back to back. A record is a header and a
//! payload. Its header is, little-endian, `kind · flags · length · index ·
//! sectors of zeroes · payload's crc32c · header's crc32c · end mark`. The
//! header's checksum also covers the segment's number and the record's offset,
//! so bytes that were meant for another place never pass for a record here.
//!
//! What a crash leaves of the last write has to be told from what damage leaves
//! of an acknowledged one: the first is cut off, the second must not be.
//! - The log only appends, so a sector that was never written reads as zeroes or
//!   lies behind the end of the file. A header begins and ends with bytes that
//!   are never zero, and says how many sectors of its payload are meant to be;
//!   so a write that misses a sector is known by it, and any other unreadable
//!   record is damaged.
//! - The length has the header's checksum, so no flipped bit makes a record look
//!   as if the file ended inside it.
//! - The first record of every batch (one write, one sync) is flagged. A batch is
//!   written only after the one before it was synced; hence a flagged record
//!   *behind* an unreadable one proves that the unreadable one was once safe.

use crate::WalError;
use crate::sealing;
use kontiki_seal::Keyring;

/// The newest format this program reads: payloads are sealed.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// The one whose payloads are not sealed; what is written without a key.
const PLAIN_VERSION: u32 = 2;
/// The one that did not repeat its version.
const UNCHECKED_VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 40;
pub(crate) const RECORD_HEADER_BYTES: usize = 27;

const MAGIC: [u8; 8] = *b"KONTIWAL";
const FLAG_BATCH_START: u8 = 1;
/// The last byte of a record's header.
const END_MARK: u8 = 0xe5;
/// What the header's checksum covers of the header.
const COVERED_BYTES: usize = 22;
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
    pub(crate) fn number(self) -> u8 {
        match self {
            // No flipped bit makes zero of them.
            Self::Entry => 0xa1,
            Self::State => 0xa2,
            Self::Truncate => 0xa3,
            Self::Purge => 0xa4,
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
pub(crate) struct BatchEncoder<'a> {
    keys: Option<&'a Keyring>,
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> BatchEncoder<'a> {
    /// Starts a batch that will lie at `offset` of segment number `segment`, which
    /// is sealed if there are `keys`.
    pub(crate) fn new(keys: Option<&'a Keyring>, segment: u64, offset: u64) -> Self {
        Self {
            keys,
            segment,
            offset,
            bytes: Vec::new(),
        }
    }

    /// Adds a record and answers its offset in the segment, and how many bytes its
    /// payload takes there.
    pub(crate) fn push(&mut self, kind: Kind, index: u64, payload: &[u8]) -> (u64, u32) {
        let flags = if self.bytes.is_empty() {
            FLAG_BATCH_START
        } else {
            0
        };
        let offset = self.offset + self.bytes.len() as u64;
        let place = (self.segment, offset);
        let payload = &*sealing::seal(self.keys, place, kind, index, payload);
        let len =
            u32::try_from(payload.len()).expect("callers bound their payloads far below 4 GiB");
        let mut header = [0; RECORD_HEADER_BYTES];
        header[0] = kind.number();
        header[1] = flags;
        header[2..6].copy_from_slice(&len.to_le_bytes());
        header[6..14].copy_from_slice(&index.to_le_bytes());
        let zeroes = sectors_of_zeroes(payload, payload_offset(offset));
        header[14..18].copy_from_slice(&zeroes.to_le_bytes());
        header[18..22].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        let crc = header_checksum(self.segment, offset, &header);
        header[22..26].copy_from_slice(&crc.to_le_bytes());
        header[26] = END_MARK;
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
        (offset, len)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn header_checksum(segment: u64, offset: u64, header: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &header[..COVERED_BYTES])
}

fn payload_offset(record_offset: u64) -> u64 {
    record_offset + RECORD_HEADER_BYTES as u64
}

/// How many sectors of the disk hold nothing but zeroes of `payload`.
fn sectors_of_zeroes(payload: &[u8], offset: u64) -> u32 {
    let in_sector = usize::try_from(offset % SECTOR_BYTES as u64).expect("less than a sector");
    let first = (SECTOR_BYTES - in_sector).min(payload.len());
    let (first, rest) = payload.split_at(first);
    let parts = std::iter::once(first).chain(rest.chunks(SECTOR_BYTES));
    let zeroes = parts.filter(|part| !part.is_empty() && part.iter().all(|byte| *byte == 0));
    u32::try_from(zeroes.count()).expect("a payload has fewer than 2^32 sectors")
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
}

/// The header of a record, once it was found to be whole.
struct Header {
    kind: Kind,
    batch_start: bool,
    payload_len: usize,
    index: u64,
    zeroes: u32,
    payload_crc: u32,
}

fn parse_header(data: &[u8], segment: u64, offset: u64) -> Result<Header, Unreadable> {
    if data.len() < RECORD_HEADER_BYTES {
        return Err(Unreadable::Short);
    }
    // The cheap looks come first: whoever searches tries every byte.
    let kind = Kind::from_number(data[0]).ok_or(Unreadable::Wrong)?;
    if data[1] & !FLAG_BATCH_START != 0
        || data[RECORD_HEADER_BYTES - 1] != END_MARK
        || header_checksum(segment, offset, data) != u32_at(data, COVERED_BYTES)
    {
        return Err(Unreadable::Wrong);
    }
    Ok(Header {
        kind,
        batch_start: data[1] & FLAG_BATCH_START != 0,
        payload_len: u32_at(data, 2) as usize,
        index: u64_at(data, 6),
        zeroes: u32_at(data, 14),
        payload_crc: u32_at(data, 18),
    })
}

/// Reads the record at the start of `data`, which lies at `offset` of segment number `segment`.
pub(crate) fn parse_record(
    data: &[u8],
    segment: u64,
    offset: u64,
) -> Result<Record<'_>, Unreadable> {
    let header = parse_header(data, segment, offset)?;
    let payload = &data[RECORD_HEADER_BYTES..];
    let payload = payload.get(..header.payload_len).ok_or(Unreadable::Short)?;
    if crc32c::crc32c(payload) != header.payload_crc {
        return Err(Unreadable::Wrong);
    }
    Ok(Record {
        kind: header.kind,
        batch_start: header.batch_start,
        index: header.index,
        payload,
    })
}

/// Whether a batch begins anywhere behind `from`.
pub(crate) fn batch_starts_after(data: &[u8], segment: u64, from: usize) -> bool {
    (from + 1..data.len()).any(|at| {
        let header = parse_header(&data[at..], segment, at as u64);
        header.is_ok_and(|header| header.batch_start)
    })
}

/// Whether the unreadable record at `from` looks like a write that a crash
/// interrupted: the file ends inside it, or a sector of it was never written.
pub(crate) fn looks_torn(data: &[u8], segment: u64, from: usize) -> bool {
    let rest = &data[from..];
    if rest.len() < RECORD_HEADER_BYTES {
        return true;
    }
    let (header, payload) = rest.split_at(RECORD_HEADER_BYTES);
    match parse_header(header, segment, from as u64) {
        // A header begins and ends with other bytes than zero, so that the part
        // of it that lies in one sector is never meant to be all zeroes.
        Err(_) => sectors_of_zeroes(header, from as u64) > 0,
        Ok(header) => payload.get(..header.payload_len).is_none_or(|payload| {
            sectors_of_zeroes(payload, payload_offset(from as u64)) > header.zeroes
        }),
    }
}

/// The header of segment number `segment`, whose first entry will be `first_index`.
pub(crate) fn segment_header(
    segment: u64,
    first_index: u64,
    sealed: bool,
) -> [u8; SEGMENT_HEADER_BYTES] {
    let version = if sealed {
        FORMAT_VERSION
    } else {
        PLAIN_VERSION
    };
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..16].copy_from_slice(&(!version).to_le_bytes());
    header[16..24].copy_from_slice(&segment.to_le_bytes());
    header[24..32].copy_from_slice(&first_index.to_le_bytes());
    let crc = crc32c::crc32c(&header[..32]);
    header[32..36].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks the header of the segment that should have number `segment`; whether it
/// is sealed.
pub(crate) fn check_segment_header(
    data: &[u8],
    file: &str,
    segment: u64,
) -> Result<bool, WalError> {
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
    // Stands there twice, because a newer format may place its checksum elsewhere.
    if version != UNCHECKED_VERSION && u32_at(data, 12) != !version {
        return corrupt(8, "the header's version is damaged");
    }
    if version > FORMAT_VERSION {
        return Err(WalError::NewerVersion {
            file: file.to_owned(),
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    if crc32c::crc32c(&data[..32]) != u32_at(data, 32) {
        return corrupt(32, "the header's checksum does not match");
    }
    if version < PLAIN_VERSION {
        return Err(WalError::OlderVersion {
            file: file.to_owned(),
            found: version,
            supported: PLAIN_VERSION,
        });
    }
    if u64_at(data, 16) != segment {
        return corrupt(
            16,
            "the header names another segment than the file name does",
        );
    }
    Ok(version == FORMAT_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_only_at_its_own_place() {
        let mut batch = BatchEncoder::new(None, 3, 40);
        assert_eq!(batch.push(Kind::Entry, 7, b"seven"), (40, 5));
        assert_eq!(batch.push(Kind::Purge, 5, b""), (40 + 32, 0));
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
        let second = parse_record(&batch.bytes()[32..], 3, 72).unwrap();
        assert_eq!((second.kind, second.batch_start), (Kind::Purge, false));
        assert_eq!(parse_record(batch.bytes(), 3, 41), Err(Unreadable::Wrong));
        assert_eq!(parse_record(batch.bytes(), 4, 40), Err(Unreadable::Wrong));
        assert_eq!(
            parse_record(&batch.bytes()[..31], 3, 40),
            Err(Unreadable::Short)
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut batch = BatchEncoder::new(None, 1, 0);
        batch.push(Kind::State, 0, b"vote");
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_record(&bytes, 1, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_version_is_told_apart_from_a_broken_one() {
        let mut header = segment_header(1, 0, false);
        assert_eq!(check_segment_header(&header, "f", 1), Ok(false));
        assert!(matches!(
            check_segment_header(&header, "f", 2),
            Err(WalError::Corrupt { offset: 16, .. })
        ));
        for bit in 0..36 * 8 {
            let mut header = header;
            header[bit / 8] ^= 1 << (bit % 8);
            let checked = check_segment_header(&header, "f", 1);
            assert!(
                matches!(checked, Err(WalError::Corrupt { .. })),
                "bit {bit}: {checked:?}"
            );
        }
        header[8] = 9;
        header[12] = !9;
        let newer = WalError::NewerVersion {
            file: "f".into(),
            found: 9,
            supported: FORMAT_VERSION,
        };
        assert_eq!(check_segment_header(&header, "f", 1), Err(newer));
        header[8..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        let crc = crc32c::crc32c(&header[..32]);
        header[32..36].copy_from_slice(&crc.to_le_bytes());
        let older = WalError::OlderVersion {
            file: "f".into(),
            found: 1,
            supported: PLAIN_VERSION,
        };
        assert_eq!(check_segment_header(&header, "f", 1), Err(older));
    }

    /// A record at every distance from a sector's boundary, with a payload that
    /// holds sectors of zeroes of its own.
    fn placed() -> impl Iterator<Item = (u64, Vec<u8>)> {
        (0..2 * SECTOR_BYTES as u64).step_by(7).map(|offset| {
            let mut payload = vec![0; 1700];
            payload[3] = 1;
            payload[1650] = 2;
            let mut batch = BatchEncoder::new(None, 1, offset);
            batch.push(Kind::Entry, 0, &payload);
            (offset, batch.bytes().to_vec())
        })
    }

    fn torn(offset: u64, record: &[u8]) -> bool {
        let from = offset as usize;
        let data = [vec![0x55; from].as_slice(), record].concat();
        assert!(parse_record(record, 1, offset).is_err());
        looks_torn(&data, 1, from)
    }

    #[test]
    fn a_flipped_bit_never_looks_like_an_interrupted_write() {
        for (offset, record) in placed() {
            for bit in (0..RECORD_HEADER_BYTES * 8).chain((0..record.len() * 8).step_by(97)) {
                let mut record = record.clone();
                record[bit / 8] ^= 1 << (bit % 8);
                assert!(!torn(offset, &record), "bit {bit} of a record at {offset}");
            }
        }
    }

    #[test]
    fn a_write_that_misses_a_sector_or_its_end_looks_interrupted() {
        for (offset, record) in placed() {
            for len in 0..record.len() {
                assert!(torn(offset, &record[..len]), "{len} bytes at {offset}");
            }
            let mut at = 0;
            while at < record.len() {
                let in_sector = (offset as usize + at) % SECTOR_BYTES;
                let end = (at + SECTOR_BYTES - in_sector).min(record.len());
                let mut missing = record.clone();
                missing[at..end].fill(0);
                // Some sectors are meant to be zeroes.
                if missing != record {
                    assert!(torn(offset, &missing), "without {at}..{end} at {offset}");
                }
                at = end;
            }
        }
    }
}

//! What the log holds, in memory: the newest entries, the places of all.
//!
//! **Invariant:** an entry that is not on disk yet is in the tail; only
//! entries whose place is known leave it.

use crate::segments::Op;
use crate::{DiskFile, WalError};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Where an entry's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: u64,
    pub offset: u64,
    /// Bytes on the disk, more than the payload if it is sealed.
    pub payload_len: u32,
    pub sealed: bool,
}

/// The log's shape apart from the entries: everything that a replay yields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Index of the first place.
    pub first: u64,
    pub places: VecDeque<Place>,
    pub states: BTreeMap<u8, Bytes>,
    pub purged: Option<(u64, Bytes)>,
}

impl Durable {
    pub(crate) fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub(crate) fn push(&mut self, place: Place) {
        self.places.push_back(place);
    }

    pub(crate) fn truncate(&mut self, from: u64) {
        self.places
            .truncate(usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX));
        if self.places.is_empty() {
            // Only a replay gets below `first`: segments with older entries
            // were removed, and entries of this one are being replaced.
            let start = self.purged.as_ref().map_or(0, |(to, _)| to + 1);
            self.first = self.first.min(from.max(start));
        }
    }

    pub(crate) fn purge(&mut self, to: u64, marker: Bytes) {
        let gone = (to + 1).saturating_sub(self.first);
        if gone >= self.places.len() as u64 {
            self.places.clear();
        } else {
            self.places
                .drain(..usize::try_from(gone).expect("less than the length"));
        }
        self.first = self.first.max(to + 1);
        self.purged = Some((to, marker));
    }

    /// Follows an operation that is on disk now; `places` are its entries'.
    pub(crate) fn follow(&mut self, op: &Op, places: &mut impl Iterator<Item = Place>) {
        match op {
            Op::Append { payloads, .. } => places
                .take(payloads.len())
                .for_each(|place| self.push(place)),
            Op::State { slot, value } => {
                self.states.insert(*slot, value.clone());
            }
            Op::Truncate { from } => self.truncate(*from),
            Op::Purge { to, marker } => self.purge(*to, marker.clone()),
        }
    }

    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.places.get(at).copied()
    }
}

/// One entry to read: from memory, or from a place on disk.
pub(crate) enum Found {
    Memory(Bytes),
    Disk(Arc<dyn DiskFile>, Place),
}

/// The log as its callers see it, including what is not on disk yet.
#[derive(Default)]
pub(crate) struct View {
    pub durable: Durable,
    pub files: BTreeMap<u64, Arc<dyn DiskFile>>,
    pub first: u64,
    pub next: u64,
    pub states: BTreeMap<u8, Bytes>,
    pub purged: Option<(u64, Bytes)>,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
}

impl View {
    pub(crate) fn new(durable: Durable, files: BTreeMap<u64, Arc<dyn DiskFile>>) -> Self {
        let mut view = Self {
            durable,
            files,
            ..Self::default()
        };
        view.reset_to_durable();
        view
    }

    /// Forgets what never reached the disk.
    pub(crate) fn reset_to_durable(&mut self) {
        self.first = self.durable.first;
        self.next = self.durable.next();
        self.states = self.durable.states.clone();
        self.purged = self.durable.purged.clone();
        self.tail.clear();
        self.tail_bytes = 0;
    }

    fn tail_first(&self) -> u64 {
        self.next - self.tail.len() as u64
    }

    pub(crate) fn append(&mut self, first: u64, payloads: &[Bytes]) -> Result<(), WalError> {
        if first != self.next {
            return Err(WalError::Hole {
                index: first,
                next: self.next,
            });
        }
        for payload in payloads {
            self.tail_bytes += payload.len();
            self.tail.push_back(payload.clone());
            self.next += 1;
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, from: u64) {
        let from = from.max(self.first);
        while self.next > from {
            if let Some(gone) = self.tail.pop_back() {
                self.tail_bytes -= gone.len();
            }
            self.next -= 1;
        }
    }

    pub(crate) fn purge(&mut self, to: u64, marker: Bytes) {
        while !self.tail.is_empty() && self.tail_first() <= to {
            let gone = self.tail.pop_front().expect("not empty");
            self.tail_bytes -= gone.len();
        }
        self.first = self.first.max(to + 1);
        self.next = self.next.max(to + 1);
        self.purged = Some((to, marker));
    }

    /// Drops the oldest entries of the tail while it is larger than
    /// `bytes_max`, sparing those from `pending` on, which are not on disk.
    pub(crate) fn shrink_tail(&mut self, bytes_max: usize, pending: Option<u64>) {
        let spare = pending.unwrap_or(u64::MAX).min(self.durable.next());
        while self.tail_bytes > bytes_max && !self.tail.is_empty() && self.tail_first() < spare {
            let gone = self.tail.pop_front().expect("not empty");
            self.tail_bytes -= gone.len();
        }
    }

    pub(crate) fn find(&self, index: u64) -> Result<Found, WalError> {
        let missing = WalError::Missing {
            index,
            first: self.first,
            next: self.next,
        };
        if index < self.first || index >= self.next {
            return Err(missing);
        }
        if index >= self.tail_first() {
            let at = usize::try_from(index - self.tail_first()).expect("within the tail");
            return Ok(Found::Memory(self.tail[at].clone()));
        }
        let place = self.durable.place(index).ok_or(missing)?;
        let file = self
            .files
            .get(&place.segment)
            .expect("a segment with live entries is never removed");
        Ok(Found::Disk(file.clone(), place))
    }
}

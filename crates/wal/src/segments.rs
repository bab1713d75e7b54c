//! The files of the log and the one place that writes to them.

use crate::format::{BatchEncoder, Kind, SEGMENT_HEADER_BYTES, segment_header};
use crate::replay::{check_start, replay_segment};
use crate::view::{Durable, Place};
use crate::{Disk, DiskFile, WalError};
use bytes::Bytes;
use kontiki_seal::Keyring;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One change of the log.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { first: u64, payloads: Vec<Bytes> },
    State { slot: u8, value: Bytes },
    Truncate { from: u64 },
    Purge { to: u64, marker: Bytes },
}

impl Op {
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Append { payloads, .. } => payloads.iter().map(Bytes::len).sum(),
            Self::State { value, .. } => value.len(),
            Self::Truncate { .. } => 0,
            Self::Purge { marker, .. } => marker.len(),
        }
    }

    /// The lowest index whose entry this operation has yet to bring to its place.
    pub(crate) fn lowest_index(&self) -> Option<u64> {
        match self {
            Self::Append { first, .. } => Some(*first),
            Self::Truncate { from } => Some(*from),
            Self::State { .. } | Self::Purge { .. } => None,
        }
    }
}

/// The segments on disk; the newest one grows.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes_max: u64,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    active: u64,
    active_len: u64,
    active_sealed: bool,
    /// Whether a failed write was cut off its end, and that is not on disk yet.
    cut: bool,
    keys: Option<Arc<Keyring>>,
    carry: Carry,
}

/// What every new segment repeats.
struct Carry {
    states: BTreeMap<u8, Bytes>,
    purged: Option<(u64, Bytes)>,
    next: u64,
}

fn file_name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

impl Segments {
    /// Opens or creates the log in `dir` and replays it.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes_max: u64,
        keys: Option<Arc<Keyring>>,
    ) -> Result<(Self, Durable), WalError> {
        let name = dir.display().to_string();
        disk.create_dir(dir)
            .map_err(|error| WalError::io(&name, "create", &error))?;
        let mut numbers = Vec::new();
        for found in disk
            .list(dir)
            .map_err(|error| WalError::io(&name, "list", &error))?
        {
            if found.ends_with(".tmp") {
                // A segment that was being born when the process died.
                disk.remove(&dir.join(&found))
                    .map_err(|error| WalError::io(&found, "remove", &error))?;
            } else if let Some(number) = found
                .strip_suffix(".wal")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        let mut segments = Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes_max,
            files: BTreeMap::new(),
            active: 0,
            active_len: 0,
            active_sealed: false,
            cut: false,
            keys,
            carry: Carry {
                states: BTreeMap::new(),
                purged: None,
                next: 0,
            },
        };
        let mut durable = Durable::default();
        segments.replay(&numbers, &mut durable)?;
        segments.carry = Carry {
            states: durable.states.clone(),
            purged: durable.purged.clone(),
            next: durable.next(),
        };
        if segments.files.is_empty() {
            segments.rotate()?;
        }
        Ok((segments, durable))
    }

    fn replay(&mut self, numbers: &[u64], durable: &mut Durable) -> Result<(), WalError> {
        for (at, number) in numbers.iter().enumerate() {
            let path = self.dir.join(file_name(*number));
            let name = path.display().to_string();
            if at > 0 && *number != numbers[at - 1] + 1 {
                let reason = "the segment before it is missing".to_owned();
                return Err(WalError::Corrupt {
                    file: name,
                    offset: 0,
                    reason,
                });
            }
            let file = self
                .disk
                .open(&path)
                .map_err(|error| WalError::io(&name, "open", &error))?;
            let is_last = at + 1 == numbers.len();
            let keys = self.keys.as_deref();
            let (good, sealed) = replay_segment(durable, keys, &*file, &name, *number, is_last)?;
            let len = file
                .len()
                .map_err(|error| WalError::io(&name, "read", &error))?;
            if good < len {
                tracing::warn!(
                    file = name,
                    offset = good,
                    bytes = len - good,
                    "the last write to the log was interrupted before it was acknowledged; cut it off"
                );
                let cut = file.truncate(good).and_then(|()| file.sync());
                cut.map_err(|error| WalError::io(&name, "truncate", &error))?;
            }
            self.files.insert(*number, file);
            (self.active, self.active_len) = (*number, good);
            self.active_sealed = sealed;
        }
        if let Some(oldest) = numbers.first() {
            check_start(
                durable,
                &self.dir.join(file_name(*oldest)).display().to_string(),
                *oldest,
            )?;
        }
        Ok(())
    }

    pub(crate) fn files(&self) -> BTreeMap<u64, Arc<dyn DiskFile>> {
        self.files.clone()
    }

    pub(crate) fn file_name(&self, segment: u64) -> String {
        self.dir.join(file_name(segment)).display().to_string()
    }

    pub(crate) fn bytes(&self) -> u64 {
        let older = self.files.len().saturating_sub(1) as u64;
        older * self.segment_bytes_max + self.active_len
    }

    /// Writes and syncs `ops` as one batch; answers the places of the entries,
    /// in order. On an error nothing of the batch counts.
    pub(crate) fn commit<'a>(
        &mut self,
        ops: impl Iterator<Item = &'a Op> + Clone,
    ) -> Result<Vec<Place>, WalError> {
        let size: usize = ops.clone().map(Op::size_bytes).sum();
        if self.active_len > SEGMENT_HEADER_BYTES as u64
            && self.active_len + size as u64 > self.segment_bytes_max
        {
            self.rotate()?;
        }
        if self.active_sealed != self.keys.is_some() {
            self.rotate()?;
        }
        let keys = self.keys.clone();
        let mut batch = BatchEncoder::new(keys.as_deref(), self.active, self.active_len);
        let mut places = Vec::new();
        for op in ops.clone() {
            match op {
                Op::Append { first, payloads } => {
                    for (index, payload) in (*first..).zip(payloads) {
                        let (offset, payload_len) = batch.push(Kind::Entry, index, payload);
                        places.push(Place {
                            segment: self.active,
                            offset,
                            payload_len,
                            sealed: keys.is_some(),
                        });
                    }
                }
                Op::State { slot, value } => {
                    batch.push(Kind::State, u64::from(*slot), value);
                }
                Op::Truncate { from } => {
                    batch.push(Kind::Truncate, *from, b"");
                }
                Op::Purge { to, marker } => {
                    batch.push(Kind::Purge, *to, marker);
                }
            }
        }
        self.write(batch.bytes())?;
        for op in ops {
            self.carry.follow(op);
        }
        Ok(places)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        let name = self.file_name(self.active);
        let file = &self.files[&self.active];
        if let Err(error) = file.write_at(self.active_len, bytes) {
            let error = WalError::io(&name, "write", &error);
            // Bytes of a failed write must not lie before those of the next one.
            return match file.truncate(self.active_len) {
                Ok(()) => {
                    self.cut = true;
                    Err(error)
                }
                Err(cut) => Err(WalError::Io {
                    file: name,
                    operation: "truncate",
                    reason: cut.to_string(),
                }),
            };
        }
        self.sync_active()?;
        self.active_len += bytes.len() as u64;
        Ok(())
    }

    /// A failed sync is final even when it says that the disk is full: the kernel
    /// may already have dropped the pages.
    fn sync_active(&mut self) -> Result<(), WalError> {
        let synced = self.files[&self.active].sync();
        synced.map_err(|error| WalError::Io {
            file: self.file_name(self.active),
            operation: "sync",
            reason: error.to_string(),
        })?;
        self.cut = false;
        Ok(())
    }

    /// Starts a new segment. It repeats the state slots and the purge mark, so
    /// that older segments can go without a thought for them. The segment gets
    /// its name only once its start is on disk: a named segment has a whole header.
    fn rotate(&mut self) -> Result<(), WalError> {
        // Of the segments only the newest may end in a part of a record.
        if self.cut {
            self.sync_active()?;
        }
        let segment = self.active + 1;
        let path = self.dir.join(file_name(segment));
        let young = path.with_extension("tmp");
        let name = path.display().to_string();
        let keys = self.keys.clone();
        let mut carried = BatchEncoder::new(keys.as_deref(), segment, SEGMENT_HEADER_BYTES as u64);
        if let Some((to, marker)) = &self.carry.purged {
            carried.push(Kind::Purge, *to, marker);
        }
        for (slot, value) in &self.carry.states {
            carried.push(Kind::State, u64::from(*slot), value);
        }
        let mut start = segment_header(segment, self.carry.next, keys.is_some()).to_vec();
        start.extend_from_slice(carried.bytes());

        let born = self.disk.create(&young).and_then(|file| {
            file.write_at(0, &start)?;
            file.sync()?;
            self.disk.rename(&young, &path)?;
            Ok(file)
        });
        let file = born.map_err(|error| {
            // Best effort: the next start removes it too.
            let _ = self.disk.remove(&young);
            WalError::io(&name, "create", &error)
        })?;
        // Final even when the disk is full: the name may or may not be there.
        self.disk
            .sync_dir(&self.dir)
            .map_err(|error| WalError::Io {
                file: name,
                operation: "sync directory",
                reason: error.to_string(),
            })?;
        self.files.insert(segment, file);
        (self.active, self.active_len) = (segment, start.len() as u64);
        self.active_sealed = keys.is_some();
        Ok(())
    }

    /// Removes the segments before `needed` (none: before the newest), and
    /// answers their numbers. Failing to is harmless: the next purge tries again.
    pub(crate) fn remove_dead(&mut self, needed: Option<u64>) -> Vec<u64> {
        let needed = needed.unwrap_or(self.active).min(self.active);
        let dead: Vec<u64> = self
            .files
            .range(..needed)
            .map(|(number, _)| *number)
            .collect();
        let mut removed = Vec::new();
        for number in dead {
            // One by one, so that a crash never leaves a hole between segments.
            let gone = self.disk.remove(&self.dir.join(file_name(number)));
            if let Err(error) = gone.and_then(|()| self.disk.sync_dir(&self.dir)) {
                tracing::warn!(file = self.file_name(number), %error, "could not remove a purged segment of the log");
                break;
            }
            self.files.remove(&number);
            removed.push(number);
        }
        removed
    }
}

impl Carry {
    fn follow(&mut self, op: &Op) {
        match op {
            Op::Append { first, payloads } => self.next = first + payloads.len() as u64,
            Op::State { slot, value } => {
                self.states.insert(*slot, value.clone());
            }
            Op::Truncate { from } => self.next = self.next.min(*from),
            Op::Purge { to, marker } => {
                self.next = self.next.max(to + 1);
                self.purged = Some((*to, marker.clone()));
            }
        }
    }
}

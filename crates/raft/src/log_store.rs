//! Raft's log and vote on the write-ahead log.

use crate::corruption::Corruption;
use crate::types::{EntryT, LogIdT, TypeConfig, VoteT, decode_entry, encode_entry};
use crate::wire;
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use kontiki_wal::{Wal, WalError};
use openraft::alias::LeaderIdOf;
use openraft::entry::RaftEntry;
use openraft::errors::LeaderChanged;
use openraft::storage::{IOFlushed, LeaderBoundedStreamError, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use prost::Message;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

/// The write-ahead log's state slots.
pub(crate) const SLOT_VOTE: u8 = 0;
const SLOT_COMMITTED: u8 = 1;
pub(crate) const SLOT_IDENTITY: u8 = 2;

/// How many bytes of entries are read at once.
const READ_BYTES_MAX: usize = 1 << 20;

/// Raft's storage. Clones share the log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
    corruption: Corruption,
}

impl LogStore {
    pub(crate) fn new(wal: Wal, corruption: Corruption) -> Self {
        Self { wal, corruption }
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (first, next) = (self.wal.first_index(), self.wal.next_index());
        (start.max(first), end.min(next))
    }

    /// A log that has failed forgot what was not on disk. An entry that others
    /// have committed may be among it, and must not seem to be nothing: it would
    /// be skipped instead of applied.
    fn refuse_if_failed(&self) -> Result<(), io::Error> {
        self.wal.failure().map_or(Ok(()), |error| Err(error.into()))
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<EntryT>, io::Error> {
        if start >= end {
            return Ok(Vec::new());
        }
        self.wal
            .read(start..end, READ_BYTES_MAX)
            .map_err(|error| self.corruption.of_log(error))?
            .into_iter()
            .map(decode_entry)
            .collect()
    }

    /// Entries from `start` up to, without, `end`, as many as are read at once;
    /// fewer where the log ends.
    pub(crate) fn entries(&self, start: u64, end: u64) -> Result<Vec<EntryT>, io::Error> {
        let (start, end) = self.bounds(&(start..end));
        self.refuse_if_failed()?;
        self.read(start, end)
    }

    fn vote(&self) -> Result<Option<VoteT>, io::Error> {
        let Some(bytes) = self.wal.state(SLOT_VOTE) else {
            return Ok(None);
        };
        Ok(Some(
            wire::Vote::decode(bytes).map_err(io::Error::other)?.into(),
        ))
    }

    fn last_purged(&self) -> Result<Option<LogIdT>, io::Error> {
        let Some((_, marker)) = self.wal.purged() else {
            return Ok(None);
        };
        Ok(Some(
            wire::LogId::decode(marker)
                .map_err(io::Error::other)?
                .into(),
        ))
    }

    /// The next entries of `leader`, as long as it leads.
    fn next_of_leader(
        &self,
        leader: &LeaderIdOf<TypeConfig>,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryT>, LeaderBoundedStreamError<TypeConfig>> {
        let check = || {
            let vote = self.vote()?;
            match &vote {
                Some(vote) if vote.committed && vote.leader_id == *leader => Ok(()),
                _ => Err(LeaderBoundedStreamError::from(LeaderChanged::new(
                    *leader, vote,
                ))),
            }
        };
        check()?;
        let entries = self.read(start, end)?;
        // Between two looks at the same vote nothing was truncated.
        check()?;
        Ok(entries)
    }
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<TypeConfig>,
        range: RB,
    ) -> impl Stream<Item = Result<EntryT, LeaderBoundedStreamError<TypeConfig>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.bounds(&range);
        let store = self.clone();
        // In portions, so that a long range never lies in memory as a whole.
        let portions = stream::unfold(Some(start), move |at| {
            let store = store.clone();
            async move {
                let at = at.filter(|at| *at < end)?;
                match store.next_of_leader(&leader, at, end) {
                    Ok(entries) => {
                        let next = at + entries.len() as u64;
                        let portion: Vec<_> = entries.into_iter().map(Ok).collect();
                        Some((portion, Some(next)))
                    }
                    Err(error) => Some((vec![Err(error)], None)),
                }
            }
        });
        let entries: BoxStream<'static, _> = portions.flat_map(stream::iter).boxed();
        entries
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryT>, io::Error> {
        let (mut start, end) = self.bounds(&range);
        // Looked at after the bounds, which shrink when the log fails.
        self.refuse_if_failed()?;
        let mut entries = Vec::new();
        while start < end {
            let portion = self.read(start, end)?;
            start += portion.len() as u64;
            entries.extend(portion);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteT>, io::Error> {
        self.vote()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryT>, io::Error> {
        let (start, end) = self.bounds(&(start..end));
        self.refuse_if_failed()?;
        self.read(start, end)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.last_purged()?;
        let (first, next) = (self.wal.first_index(), self.wal.next_index());
        let last_log_id = if first < next {
            self.read(next - 1, next)?
                .first()
                .map(|entry| entry.log_id())
        } else {
            last_purged_log_id
        };
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteT) -> Result<(), io::Error> {
        let value = encode(&wire::Vote::from(*vote));
        write_durably(|done| self.wal.set_state(SLOT_VOTE, value, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdT>) -> Result<(), io::Error> {
        // A hint for the next start: an older one only means that a little more
        // has to be learned from the leader again. So it costs no sync.
        let value = committed
            .map(|id| encode(&wire::LogId::from(id)))
            .unwrap_or_default();
        Ok(self.wal.set_state_lazily(SLOT_COMMITTED, value)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdT>, io::Error> {
        match self.wal.state(SLOT_COMMITTED) {
            Some(bytes) if !bytes.is_empty() => Ok(Some(
                wire::LogId::decode(bytes).map_err(io::Error::other)?.into(),
            )),
            _ => Ok(None),
        }
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryT> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut first = None;
        let mut payloads = Vec::new();
        for entry in entries {
            first.get_or_insert(entry.log_id.index);
            payloads.push(encode_entry(&entry));
        }
        let first = first.unwrap_or_else(|| self.wal.next_index());
        let done = Box::new(move |result: Result<(), WalError>| {
            callback.io_completed(result.map_err(io::Error::from));
        });
        Ok(self.wal.append(first, payloads, done)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdT>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |id| id.index + 1);
        // Later appends become durable after it, which is all that Raft needs.
        Ok(self.wal.truncate(from, Box::new(|_| ()))?)
    }

    async fn purge(&mut self, log_id: LogIdT) -> Result<(), io::Error> {
        let marker = encode(&wire::LogId::from(log_id));
        Ok(self.wal.purge(log_id.index, marker, Box::new(|_| ()))?)
    }
}

/// Submits an operation to the log and waits until it is on disk.
pub(crate) async fn write_durably(
    submit: impl FnOnce(kontiki_wal::Done) -> Result<(), WalError>,
) -> Result<(), io::Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    submit(Box::new(move |result| {
        // The waiter may have gone; the operation counts nevertheless.
        let _ = sender.send(result);
    }))?;
    match receiver.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(WalError::Closed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_wal::{SimDisk, SimFault, SystemClock, WalConfig};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_log_that_failed_is_not_read_as_if_it_had_never_been_given_an_entry() {
        let disk = SimDisk::new(1);
        let (config, clock) = (WalConfig::new("/wal"), Arc::new(SystemClock::default()));
        let wal = Wal::open_stepped(config, Arc::new(disk.clone()), clock, None).unwrap();
        let mut store = LogStore::new(wal.clone(), Corruption::default());
        wal.append(0, vec![Bytes::from_static(b"entry")], Box::new(|_| ()))
            .unwrap();
        disk.inject(SimFault::FailSync);
        wal.step();
        assert!(store.try_get_log_entries(0..1).await.is_err());
        assert!(store.limited_get_log_entries(0, 1).await.is_err());
    }
}

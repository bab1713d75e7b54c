//! The types that the consensus library is instantiated with, and their bytes.
//!
//! Nothing outside this crate sees any of them.

use crate::wire;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::impls::{OneshotResponder, leader_id_std};
use openraft::vote::RaftLeaderId;
use openraft::{AsyncRuntime, EntryPayload, LogId, Membership, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Duration;

/// One group of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = ();
    type NodeId = u64;
    type Node = PeerNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, PeerNode>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

type Tokio = openraft::TokioRuntime;

/// Tokio, with random numbers that a simulation can seed and without those that
/// it cannot.
#[derive(Debug)]
pub struct Runtime(Tokio);

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = rand_0_10::rngs::SmallRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = crate::watch::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        crate::random::generator()
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

pub(crate) type LogIdT = LogIdOf<TypeConfig>;
pub(crate) type VoteT = VoteOf<TypeConfig>;
pub(crate) type EntryT = EntryOf<TypeConfig>;
pub(crate) type StoredMembershipT = StoredMembershipOf<TypeConfig>;

/// A member as the replicated membership knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNode {
    /// A name for people.
    pub name: String,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where etcd clients reach it.
    pub client_urls: Vec<String>,
    /// Drawn at random when the member's disk was first used. A member that
    /// comes back with another one has forgotten what it promised.
    pub disk_id: u64,
}

/// A batch of commands with the identity under which it is applied once.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

/// Who proposed a batch: member, life of its process, number within that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub member: u64,
    pub boot: u64,
    pub sequence: u64,
}

const PROPOSAL_VERSION: u8 = 1;
const PROPOSAL_HEADER_BYTES: usize = 26;
/// Room for four trace parents; their length is one byte of the header.
pub(crate) const TRACES_BYTES_MAX: usize = 255;

impl Proposal {
    /// `traces` are W3C trace parents, separated by commas; they are dropped if
    /// they are longer than [`TRACES_BYTES_MAX`].
    pub(crate) fn new(origin: Origin, traces: &str, commands: &[u8]) -> Self {
        let trace = if traces.len() > TRACES_BYTES_MAX {
            ""
        } else {
            traces
        };
        let mut bytes =
            BytesMut::with_capacity(PROPOSAL_HEADER_BYTES + trace.len() + commands.len());
        bytes.put_u8(PROPOSAL_VERSION);
        bytes.put_u64_le(origin.member);
        bytes.put_u64_le(origin.boot);
        bytes.put_u64_le(origin.sequence);
        bytes.put_u8(u8::try_from(trace.len()).expect("checked above"));
        bytes.put_slice(trace.as_bytes());
        bytes.put_slice(commands);
        Self(bytes.freeze())
    }

    /// The origin, the trace parents and the encoded commands.
    pub(crate) fn parse(&self) -> Result<(Origin, Bytes, Bytes), io::Error> {
        let mut bytes = self.0.clone();
        let wrong = |what: &str| {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("proposal: {what}"),
            ))
        };
        if bytes.len() < PROPOSAL_HEADER_BYTES {
            return wrong("too short");
        }
        if bytes.get_u8() != PROPOSAL_VERSION {
            return wrong("it was written by a newer version; upgrade this member");
        }
        let origin = Origin {
            member: bytes.get_u64_le(),
            boot: bytes.get_u64_le(),
            sequence: bytes.get_u64_le(),
        };
        let trace = usize::from(bytes.get_u8());
        if bytes.len() < trace {
            return wrong("the trace parent is cut");
        }
        let trace = bytes.split_to(trace);
        Ok((origin, trace, bytes))
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Proposal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

pub(crate) fn log_id(term: u64, index: u64) -> LogIdT {
    LogId {
        leader_id: CommittedLeaderIdOf::<TypeConfig>::new(term),
        index,
    }
}

const ENTRY_BLANK: u8 = 0;
const ENTRY_NORMAL: u8 = 1;
const ENTRY_MEMBERSHIP: u8 = 2;
const ENTRY_HEADER_BYTES: usize = 17;

/// An entry's bytes, on disk and between peers.
pub(crate) fn encode_entry(entry: &EntryT) -> Bytes {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (ENTRY_BLANK, Bytes::new()),
        EntryPayload::Normal(proposal) => (ENTRY_NORMAL, proposal.0.clone()),
        EntryPayload::Membership(membership) => (ENTRY_MEMBERSHIP, encode_membership(membership)),
    };
    let mut bytes = BytesMut::with_capacity(ENTRY_HEADER_BYTES + payload.len());
    bytes.put_u8(kind);
    bytes.put_u64_le(entry.log_id.leader_id.term);
    bytes.put_u64_le(entry.log_id.index);
    bytes.put_slice(&payload);
    bytes.freeze()
}

/// Shares `bytes`; nothing is copied.
pub(crate) fn decode_entry(mut bytes: Bytes) -> Result<EntryT, io::Error> {
    let wrong =
        |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("log entry: {what}"));
    if bytes.len() < ENTRY_HEADER_BYTES {
        return Err(wrong("too short"));
    }
    let kind = bytes.get_u8();
    let log_id = log_id(bytes.get_u64_le(), bytes.get_u64_le());
    let payload = match kind {
        ENTRY_BLANK => EntryPayload::Blank,
        ENTRY_NORMAL => EntryPayload::Normal(Proposal(bytes)),
        ENTRY_MEMBERSHIP => EntryPayload::Membership(decode_membership(&bytes)?),
        _ => {
            return Err(wrong(
                "of a kind that a newer version writes; upgrade this member",
            ));
        }
    };
    Ok(EntryT::new(log_id, payload))
}

pub(crate) fn encode_membership(membership: &Membership<u64, PeerNode>) -> Bytes {
    serde_json::to_vec(membership)
        .expect("plain data with string keys")
        .into()
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, PeerNode>, io::Error> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl From<LogIdT> for wire::LogId {
    fn from(id: LogIdT) -> Self {
        Self {
            term: id.leader_id.term,
            index: id.index,
        }
    }
}

impl From<wire::LogId> for LogIdT {
    fn from(id: wire::LogId) -> Self {
        log_id(id.term, id.index)
    }
}

impl From<VoteT> for wire::Vote {
    fn from(vote: VoteT) -> Self {
        Self {
            term: vote.leader_id.term,
            voted_for: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<wire::Vote> for VoteT {
    fn from(vote: wire::Vote) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.voted_for)
        } else {
            Self::new(vote.term, vote.voted_for)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn entries_of_every_kind_read_back() {
        let node = PeerNode {
            name: "a".into(),
            peer_address: "h:1".into(),
            disk_id: u64::MAX,
            ..Default::default()
        };
        let membership =
            Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap();
        let origin = Origin {
            member: 1,
            boot: 2,
            sequence: 3,
        };
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal::new(origin, "00-trace", b"commands")),
            EntryPayload::Membership(membership),
        ];
        for payload in payloads {
            let entry = EntryT::new(log_id(7, 9), payload);
            let bytes = encode_entry(&entry);
            assert_eq!(decode_entry(bytes.clone()).unwrap(), entry);
            for len in 0..ENTRY_HEADER_BYTES {
                assert!(decode_entry(bytes.slice(..len)).is_err());
            }
        }
    }

    #[test]
    fn a_proposal_carries_its_origin_and_trace() {
        let origin = Origin {
            member: 1,
            boot: 2,
            sequence: 3,
        };
        let proposal = Proposal::new(origin, "00-ab-cd-01", b"xyz");
        assert_eq!(
            proposal.parse().unwrap(),
            (
                origin,
                Bytes::from_static(b"00-ab-cd-01"),
                Bytes::from_static(b"xyz")
            )
        );
        assert!(Proposal(proposal.0.slice(..30)).parse().is_err());
    }
}

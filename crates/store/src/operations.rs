//! What operators ask of a replica, beyond keys and leases.

use crate::{
    AuthChange, AuthState, Header, KeyValue, LeaseId, Member, Revision, Store, StoreError,
    TxnRequest, TxnResponse,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;

/// Why a change of the membership was refused; etcd's texts.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum MemberError {
    #[error("etcdserver: member ID already exist")]
    IdExists,
    #[error("etcdserver: Peer URLs already exists")]
    AddressExists,
    #[error("etcdserver: given member URLs are invalid")]
    BadAddress,
    #[error("etcdserver: member not found")]
    NotFound,
    #[error("etcdserver: can only promote a learner member")]
    NotLearner,
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// As the former; etcd answers another code for the last voter.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    LastVoter,
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    #[error("etcdserver: not leader")]
    NotLeader,
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TransferTimeout,
    #[error("etcdserver: another change of the membership is under way; try again")]
    Busy,
    #[error("etcdserver: this store has one replica and no log; its membership cannot change")]
    Unsupported,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// Add a member that has yet to be started.
    Add {
        /// Where peers will reach it, as `host:port`.
        peer_address: String,
        /// Whether it stays a learner until it is promoted; else it votes once
        /// it has caught up.
        learner: bool,
    },
    /// Remove a member for good.
    Remove {
        /// Which.
        id: u64,
    },
    /// Change where peers reach a member.
    Readdress {
        /// Which.
        id: u64,
        /// The new address, as `host:port`.
        peer_address: String,
    },
    /// Make a learner that has caught up a voter.
    Promote {
        /// Which.
        id: u64,
    },
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The quota is used up: only deletions and compactions go on.
    NoSpace,
    /// Replicas differ: nothing goes on.
    Corrupt,
}

/// An alarm that a member raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Who.
    pub member_id: u64,
    /// About what.
    pub kind: AlarmKind,
}

/// The hash of all readable versions up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// Where the store stood.
    pub header: Header,
    /// Equal on every replica for the same two revisions.
    pub hash: u32,
    /// The revision it was taken at.
    pub revision: Revision,
    /// The compacted revision it was taken with.
    pub compact_revision: Revision,
}

/// One item of a [`Dump`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpItem {
    /// A version of a key; a deletion has no more than key and revision.
    Version {
        /// Number within its revision.
        number: u32,
        /// Whether the key was deleted.
        deleted: bool,
        /// The version.
        kv: KeyValue,
    },
    /// A lease.
    Lease {
        /// The lease.
        id: LeaseId,
        /// Seconds it was granted for.
        ttl_seconds: i64,
        /// Seconds left at the last checkpoint; 0: no checkpoint.
        remaining_seconds: i64,
    },
}

/// Everything readable at one point: leases first, then versions in the order
/// of their revisions.
pub struct Dump {
    /// The revision and the Raft term.
    pub header: Header,
    /// The oldest revision that can be read; 0 when nothing was compacted.
    pub compact_revision: Revision,
    /// Index of the last log entry in it.
    pub applied_index: u64,
    /// The members.
    pub members: Vec<Member>,
    /// Users and roles.
    pub auth: Arc<AuthState>,
    /// The alarms.
    pub alarms: Vec<Alarm>,
    /// The content, in portions.
    pub items: mpsc::Receiver<Result<Vec<DumpItem>, StoreError>>,
}

/// How a replica is doing, beyond what etcd tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// 99 of 100 recent syncs of the log took at most this long.
    pub fsync_p99: Option<Duration>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes that are free where the log lies.
    pub disk_free_bytes: Option<u64>,
    /// How long a write that changes nothing took; `None` if none was asked for.
    pub write_probe: Option<Result<Duration, StoreError>>,
    /// Which features all members understand.
    pub feature_level: u32,
    /// The other members, as this one sees them.
    pub peers: Vec<PeerDiagnosis>,
    /// What its operators should know beyond that.
    pub remarks: Vec<String>,
}

/// A member, as another one sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerDiagnosis {
    /// Who.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How long it took to answer; `None`: it did not.
    pub round_trip: Option<Duration>,
    /// Log entries that it lacks; only the leader knows.
    pub lag_entries: Option<u64>,
}

/// A replica as its operators see it.
#[async_trait]
pub trait Operations: Store {
    /// Hashes the key space as it was at a revision (0: now).
    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, StoreError>;

    /// Hashes everything that is replicated.
    async fn hash(&self) -> Result<u32, StoreError>;

    /// The alarms that are on.
    async fn alarms(&self) -> Result<Vec<Alarm>, StoreError>;

    /// The alarms as far as this replica has heard, without asking anybody.
    fn local_alarms(&self) -> Vec<Alarm>;

    /// Raises or ends an alarm.
    async fn set_alarm(&self, alarm: Alarm, on: bool) -> Result<(), StoreError>;

    /// Makes another voter the leader; only the leader can.
    async fn move_leader(&self, to: u64) -> Result<(), StoreError>;

    /// Changes the membership, wherever the leader is; answers the member it
    /// was about (as it was, if it is gone) and all members.
    async fn change_member(
        &self,
        change: MemberChange,
    ) -> Result<(Member, Vec<Member>), StoreError>;

    /// How this replica and its connections are doing. A `write_probe` goes
    /// through the log as any write does, and changes nothing.
    async fn diagnose(&self, write_probe: bool) -> Result<Diagnosis, StoreError>;

    /// Everything, as of now.
    async fn dump(&self) -> Result<Dump, StoreError>;

    /// Users and roles as this replica knows them.
    fn auth(&self) -> Arc<AuthState>;

    /// Changes users or roles.
    async fn change_auth(&self, change: AuthChange) -> Result<Header, StoreError>;

    /// A transaction that is refused with `OldRevision` if users or roles have
    /// changed since `auth_revision`, at which its permissions were checked.
    async fn txn_permitted(
        &self,
        req: TxnRequest,
        auth_revision: u64,
    ) -> Result<TxnResponse, StoreError>;
}

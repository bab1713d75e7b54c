//! Who belongs to the cluster and how a replica is doing.

/// A member of the cluster. The id is identity; the addresses are data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Identity; never reused.
    pub id: u64,
    /// A name for people.
    pub name: String,
    /// Where peers reach it, as `host:port`.
    pub peer_addresses: Vec<String>,
    /// Where etcd clients reach it, as URLs.
    pub client_urls: Vec<String>,
    /// Whether it is a learner: replicated to, without a vote.
    pub is_learner: bool,
}

/// A replica's view of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The cluster's id; 0 until it is known.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// The leader, 0 while none is known.
    pub leader_id: u64,
    /// The Raft term.
    pub raft_term: u64,
    /// Index of the last log entry known to be committed.
    pub raft_index: u64,
    /// Index of the last applied log entry.
    pub applied_index: u64,
    /// The MVCC revision.
    pub revision: i64,
    /// Revision up to which history was compacted.
    pub compact_revision: i64,
    /// Bytes on disk of the state machine.
    pub db_size_bytes: u64,
    /// Of these, bytes in use.
    pub db_size_in_use_bytes: u64,
    /// The quota for `db_size_in_use_bytes`; 0: none.
    pub db_quota_bytes: u64,
    /// Whether this member is a learner.
    pub is_learner: bool,
    /// Whether everything that was committed when the process started has been applied.
    pub recovered: bool,
    /// What is wrong, in words; empty when all is well.
    pub errors: Vec<String>,
}

impl StoreStatus {
    /// Whether this replica leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader_id != 0 && self.leader_id == self.member_id
    }
}

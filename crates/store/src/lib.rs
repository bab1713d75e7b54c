//! The interface of the replicated key-value store.
//!
//! Everything above the store (API server, etcd façade, tests) speaks to it
//! through [`Store`] and the plain types of this crate, which carry etcd v3's
//! meaning: one revision counter for the whole key space, multi-version
//! history until compaction, transactions, leases, and watches from a
//! revision.
//!
//! **Invariant:** nothing in this crate knows Raft, RocksDB, gRPC or a clock.

mod auth;
mod error;
mod feed;
mod kv;
mod lease;
mod member;
mod operations;
mod txn;

pub use auth::{Access, AuthChange, AuthError, AuthState, Permission, ROOT, User};
pub use error::StoreError;
pub use feed::{Event, EventBatch, EventKind, WatchItem, WatchRequest, WatchStream};
pub use kv::{KeyRange, KeyValue, RangeRequest, RangeResponse, SortKey, SortOrder, prefix_end};
pub use lease::{LeaseGrant, LeaseId, LeaseInfo};
pub use member::{Member, StoreStatus};
pub use operations::{
    Alarm, AlarmKind, Diagnosis, Dump, DumpItem, KvHash, MemberChange, MemberError, Operations,
    PeerDiagnosis,
};
pub use txn::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Op, OpResponse,
    PutRequest, PutResponse, TxnRequest, TxnResponse,
};

use async_trait::async_trait;
use tokio::sync::watch;

/// A point in the store's history. The first write of a new store is revision 2,
/// as in etcd, where an empty store stands at revision 1.
pub type Revision = i64;

/// What a call answers beside its own result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The store's revision when the call was served.
    pub revision: Revision,
    /// The Raft term in which it was served.
    pub raft_term: u64,
}

/// One replica of the store, seen from inside its own process.
///
/// Reads are served from the local state machine. A linearizable read first
/// learns the leader's commit index and waits until the local replica has
/// applied it; a serializable one answers at once.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a range of keys. `req.serializable` chooses the consistency.
    async fn range(&self, req: RangeRequest) -> Result<RangeResponse, StoreError>;

    /// Runs one transaction on the replicated log. Returns once a quorum has it
    /// on disk and this replica has applied it.
    async fn txn(&self, req: TxnRequest) -> Result<TxnResponse, StoreError>;

    /// Waits until everything that was acknowledged before the call, anywhere,
    /// is applied here; returns the local revision at that point (ReadIndex).
    async fn read_barrier(&self) -> Result<Revision, StoreError>;

    /// Forgets history before `revision`. With `physical` it returns only when
    /// the space is reusable.
    async fn compact(&self, revision: Revision, physical: bool) -> Result<Header, StoreError>;

    /// Opens a watch. Never blocks the apply path: a watcher that falls behind
    /// is served from history until it has caught up.
    async fn watch(&self, req: WatchRequest) -> Result<WatchStream, StoreError>;

    /// Grants a lease of `ttl_seconds`; `id` 0 lets the store choose.
    async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Result<LeaseGrant, StoreError>;

    /// Revokes a lease and deletes its keys in one revision.
    async fn lease_revoke(&self, id: LeaseId) -> Result<Header, StoreError>;

    /// Extends a lease; answers the new TTL in seconds, 0 if it does not exist.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseGrant, StoreError>;

    /// What is known of a lease; `ttl_seconds` −1 if it does not exist.
    async fn lease_info(&self, id: LeaseId, keys: bool) -> Result<LeaseInfo, StoreError>;

    /// Every live lease.
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError>;

    /// The replica's own view of itself; changes are signalled.
    fn status(&self) -> watch::Receiver<StoreStatus>;

    /// Every member of the cluster.
    async fn members(&self) -> Result<Vec<Member>, StoreError>;
}

//! What can go wrong in a call to the store, in etcd's terms.

use crate::{AuthError, MemberError, Revision};
use thiserror::Error;

/// A refused or failed call. The texts are etcd's, because etcd clients and the
/// API server's own clients read them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// A key was empty where one is needed.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation without content.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A value was given together with `ignore_value`.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A lease was given together with `ignore_lease`.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// The request has more operations than the configured limit.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// One transaction branch writes a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A range asked for an unknown sort order or key.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// The revision has been compacted away.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
    /// The revision does not exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The request is larger than the configured limit.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// The quota is used up.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The lease does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease with that id exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// The TTL is beyond what can be represented.
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// Authentication refused it.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The membership cannot be changed like this.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// No leader is known; the call was not carried out.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The call did not finish in time; it may still be carried out.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// The leader changed while the call was under way; it may still be carried out.
    #[error("etcdserver: request timed out, possibly due to previous leader failure")]
    TimeoutLeaderFailure,
    /// Too much is in flight; try again.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// The replica is shutting down.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// The replica found its own data corrupt and stopped.
    #[error("etcdserver: corrupt cluster: {0}")]
    Corrupt(String),
    /// Anything else: a disk or an internal invariant.
    #[error("{0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the call certainly had no effect, so that repeating it is safe
    /// even for operations that are not idempotent.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(
            self,
            Self::Timeout
                | Self::TimeoutLeaderFailure
                | Self::Stopped
                | Self::Internal(_)
                | Self::Corrupt(_)
        )
    }
}

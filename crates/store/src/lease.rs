//! Leases: keys that live as long as somebody vouches for them.

use crate::Header;
use bytes::Bytes;

/// A lease's id; 0 means none.
pub type LeaseId = i64;

/// The answer to a grant or a keep-alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Where the store stood.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// Its time to live in seconds.
    pub ttl_seconds: i64,
}

/// What is known of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Where the store stood.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// Seconds left; −1 if the lease does not exist.
    pub ttl_seconds: i64,
    /// Seconds it was granted for.
    pub granted_ttl_seconds: i64,
    /// The keys attached to it, if they were asked for.
    pub keys: Vec<Bytes>,
}

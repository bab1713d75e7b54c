//! The replicated part of leases: which exist, for how long, and which keys
//! hang on them. When one ends is decided by the leader's clock, outside.

use crate::index::Key;
use imbl::{OrdMap, OrdSet};
use kontiki_store::LeaseId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) ttl_seconds: i64,
    /// Seconds left at the last checkpoint; 0: none, the full TTL counts.
    pub(crate) remaining_seconds: i64,
    pub(crate) keys: OrdSet<Key>,
}

/// Every lease. Copying it is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseTable {
    leases: OrdMap<LeaseId, Lease>,
}

impl LeaseTable {
    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    pub(crate) fn insert(&mut self, id: LeaseId, ttl_seconds: i64, remaining_seconds: i64) {
        self.leases.insert(
            id,
            Lease {
                ttl_seconds,
                remaining_seconds,
                keys: OrdSet::new(),
            },
        );
    }

    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        self.leases.remove(&id)
    }

    /// Remembers the remaining time; answers the lease's TTL if it exists.
    pub(crate) fn checkpoint(&mut self, id: LeaseId, remaining_seconds: i64) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        lease.remaining_seconds = remaining_seconds.clamp(0, lease.ttl_seconds);
        Some(lease.ttl_seconds)
    }

    /// Moves a key from one lease to another; 0 is none.
    pub(crate) fn reattach(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != 0
            && let Some(lease) = self.leases.get_mut(&from)
        {
            lease.keys.remove(key);
        }
        if to != 0
            && let Some(lease) = self.leases.get_mut(&to)
        {
            lease.keys.insert(Key::from(key));
        }
    }
}

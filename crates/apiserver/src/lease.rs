//! Leases for objects that live for a while only (Events): objects of one
//! minute share a lease, so that a storm of events does not become a storm of leases.

use crate::error;
use kontiki_object::Status;
use kontiki_store::{LeaseId, Store};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a lease is given to new objects.
const REUSE: Duration = Duration::from_secs(60);

/// Hands leases out.
pub struct LeasePool {
    store: Arc<dyn Store>,
    current: Mutex<HashMap<u32, (LeaseId, Instant)>>,
}

impl LeasePool {
    /// On a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            current: Mutex::default(),
        }
    }

    /// A lease that lasts at least `ttl_seconds` from now.
    ///
    /// # Errors
    /// If the store grants none.
    pub async fn get(&self, ttl_seconds: u32) -> Result<LeaseId, Status> {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        if let Some((lease, until)) = current.get(&ttl_seconds)
            && now < *until
        {
            return Ok(*lease);
        }
        let ttl = i64::from(ttl_seconds) + REUSE.as_secs().cast_signed();
        let grant = self.store.lease_grant(0, ttl).await;
        let grant = grant.map_err(|error| error::from_store(&error))?;
        current.insert(ttl_seconds, (grant.id, now + REUSE));
        Ok(grant.id)
    }
}

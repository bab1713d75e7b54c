//! Hashes by which replicas are compared. They cover what can be read, not
//! what happens to lie on the disk, so they do not depend on how far a sweep
//! has come.

use super::read::check_revision;
use super::{State, StateMachine};
use crate::engine::{EngineError, Space, View};
use crate::layout::{self, Record};
use kontiki_store::{EventKind, Revision, StoreError};

/// The hash of all readable versions up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over the versions in the order of their keys.
    pub hash: u32,
    /// The revision it was taken at.
    pub revision: Revision,
    /// The compacted revision it was taken with.
    pub compact_revision: Revision,
}

impl StateMachine {
    /// Hashes the key space as it was at `revision` (0: now).
    pub fn hash_kv(&self, revision: Revision) -> Result<HashKv, StoreError> {
        loop {
            let state = self.state();
            check_revision(&state, revision)?;
            let at = if revision <= 0 {
                state.revision
            } else {
                revision
            };
            let hash = self
                .engine
                .view()
                .and_then(|view| hash_versions(&*view, &state, at));
            let now = self.state();
            if now.generation == state.generation && now.compact_revision == state.compact_revision
            {
                let hash = hash.map_err(|error| StoreError::Internal(error.to_string()))?;
                return Ok(HashKv {
                    hash,
                    revision: at,
                    compact_revision: state.compact_revision,
                });
            }
        }
    }

    /// Hashes everything replicated: the key space, leases, the cluster's own data.
    pub fn state_hash(&self) -> Result<u32, StoreError> {
        // With no writer at work, the parts belong together.
        let _writer = self.writer.lock();
        let state = self.state();
        let mut hash = crc32c::crc32c_append(self.hash_kv(0)?.hash, &state.encode());
        let mut add = |bytes: &[u8]| hash = crc32c::crc32c_append(hash, bytes);
        for (id, lease) in state.leases.iter() {
            add(&layout::encode_numbers(&[
                id,
                lease.ttl_seconds,
                lease.remaining_seconds,
                lease.keys.len() as i64,
            ]));
            lease.keys.iter().for_each(|key| add(key));
        }
        for (key, value) in &state.cluster {
            add(&layout::encode_numbers(&[
                key.len() as i64,
                value.len() as i64,
            ]));
            add(key);
            add(value);
        }
        add(&crate::auth::encode_state(&state.auth));
        for (key, meta) in state.index.slice(0, usize::MAX) {
            add(key);
            add(&layout::encode_meta(&meta));
        }
        Ok(hash)
    }
}

fn hash_versions(view: &dyn View, state: &State, at: Revision) -> Result<u32, EngineError> {
    let mut cursor = view.cursor(Space::Keys, &[state.slot + 1])?;
    let mut hash = 0;
    // The key being looked at, and whether its newest version at or before the
    // compacted revision was met: older ones are unreachable.
    let (mut prefix, mut reached) = (Vec::new(), false);
    cursor.seek(&[state.slot])?;
    while let Some((raw, value)) = cursor.item() {
        let revision = layout::version_revision(raw)?;
        let head = &raw[..raw.len() - 8];
        if head != prefix {
            prefix = head.to_vec();
            reached = false;
        }
        if revision <= at && !reached {
            reached = revision <= state.compact_revision;
            let dead =
                revision < state.compact_revision && Record::peek(value)?.0 == EventKind::Delete;
            if !dead {
                // Without the slot, which differs between replicas.
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &raw[1..]), value);
            }
        }
        cursor.next()?;
    }
    Ok(hash)
}

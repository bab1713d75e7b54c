//! Making the content of an empty engine from a dump.
//!
//! The live keys are held in memory until the end; everything else passes
//! through. A crash leaves an engine without a position, which is refused.

use super::{State, open_root};
use crate::engine::{Batch, Engine, EngineError, Space};
use crate::index::{KeyIndex, KeyMeta};
use crate::layout::{self, Record, meta};
use bytes::Bytes;
use kontiki_store::{AuthState, DumpItem, EventKind, Revision};
use std::sync::Arc;
use thiserror::Error;

const BATCH_BYTES: usize = 4 << 20;

/// Why a dump could not be taken over.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is something already.
    #[error("the state machine's folder holds data already; restore into an empty one")]
    NotEmpty,
    /// Versions came out of order.
    #[error("revision {0} comes after revision {1}; the snapshot is damaged")]
    Unordered(Revision, Revision),
}

/// What becomes of the revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// The oldest revision that can be read.
    pub compact_revision: Revision,
    /// At least this one is the newest.
    pub revision: Revision,
    /// Added to the newest, so that nobody takes new writes for old ones.
    pub bump: Revision,
    /// Whether everything before the result counts as compacted, so that old
    /// watchers are told to start over.
    pub mark_compacted: bool,
}

/// Takes a dump over, item by item.
pub struct Importer {
    engine: Arc<dyn Engine>,
    slot: u8,
    state: State,
    revisions: Revisions,
    batch: Batch,
    last: (Revision, u32),
}

impl Importer {
    /// Begins on an empty engine.
    pub fn new(engine: Arc<dyn Engine>, revisions: Revisions) -> Result<Self, ImportError> {
        if engine.get(Space::Meta, layout::ROOT)?.is_some() {
            return Err(ImportError::NotEmpty);
        }
        let slot = open_root(&*engine)?;
        let state = State {
            slot,
            revision: revisions.revision.max(1),
            compact_revision: revisions.compact_revision,
            ..State::default()
        };
        Ok(Self {
            engine,
            slot,
            state,
            revisions,
            batch: Batch::new(),
            last: (0, 0),
        })
    }

    /// Users and roles.
    pub fn auth(&mut self, auth: AuthState) {
        self.state.auth = Arc::new(auth);
    }

    /// The next item.
    pub fn item(&mut self, item: DumpItem) -> Result<(), ImportError> {
        match item {
            DumpItem::Lease {
                id,
                ttl_seconds,
                remaining_seconds,
            } => {
                self.batch.put(
                    Space::Meta,
                    layout::meta_key(self.slot, meta::LEASE, &id.to_be_bytes()),
                    layout::encode_numbers(&[ttl_seconds, remaining_seconds]),
                );
            }
            DumpItem::Version {
                number,
                deleted,
                kv,
            } => {
                let at = (kv.mod_revision, number);
                if at < self.last {
                    return Err(ImportError::Unordered(at.0, self.last.0));
                }
                self.last = at;
                self.version(at, deleted, kv);
            }
        }
        if self.batch.size_bytes() >= BATCH_BYTES {
            self.engine.write(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn version(&mut self, at: (Revision, u32), deleted: bool, kv: kontiki_store::KeyValue) {
        let (revision, number) = at;
        self.state.revision = self.state.revision.max(revision);
        let kind = if deleted {
            self.state.index.remove(&kv.key);
            EventKind::Delete
        } else {
            EventKind::Put
        };
        let meta = KeyMeta {
            create_revision: kv.create_revision,
            mod_revision: revision,
            version: kv.version,
            lease: kv.lease,
        };
        if !deleted {
            self.state.index.insert(&kv.key, meta);
        }
        self.batch.put(
            Space::Keys,
            layout::version_key(self.slot, &kv.key, revision),
            Record::encode(kind, &meta, &kv.value),
        );
        if revision >= self.state.compact_revision {
            self.batch.put(
                Space::Changes,
                layout::change_key(self.slot, revision, number),
                layout::encode_change(kind, &kv.key),
            );
        }
    }

    /// Makes it all durable under the caller's position; answers the newest revision.
    pub fn finish(mut self, position: Bytes) -> Result<Revision, ImportError> {
        let index: KeyIndex = std::mem::take(&mut self.state.index);
        for (key, meta) in index.slice(0, usize::MAX) {
            let current = layout::meta_key(self.slot, key, &[]);
            self.batch
                .put(Space::Current, current, layout::encode_meta(&meta));
            if self.batch.size_bytes() >= BATCH_BYTES {
                self.engine.write(std::mem::take(&mut self.batch))?;
            }
        }
        self.state.revision += self.revisions.bump.max(0);
        if self.revisions.mark_compacted {
            self.state.compact_revision = self.state.revision;
        }
        let mut put = |name: &[u8], value: Bytes| {
            let key = layout::meta_key(self.slot, name, &[]);
            self.batch.put(Space::Meta, key, value);
        };
        put(meta::STATE, self.state.encode());
        put(meta::AUTH, crate::auth::encode_state(&self.state.auth));
        put(meta::APPLIED, position);
        self.engine.write(std::mem::take(&mut self.batch))?;
        self.engine.flush()?;
        Ok(self.state.revision)
    }
}

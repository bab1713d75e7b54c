//! Applying a run of committed entries: one engine write, one publication,
//! one feed.

use super::txn::{Change, Stop, Work, reads_past};
use super::{Applied, Entry, Outcome, State, StateMachine};
use crate::check::MAX_LEASE_TTL_SECONDS;
use crate::command::Command;
use crate::engine::{Batch, EngineError, Space};
use crate::layout::{self, Record, meta};
use crate::watch::Feed;
use bytes::Bytes;
use kontiki_store::{AuthChange, AuthError, EventKind, LeaseGrant, LeaseId, Revision, StoreError};
use std::sync::Arc;

impl StateMachine {
    /// Applies committed entries in order and answers each command. `meta` is
    /// the caller's position after them; it becomes durable together with
    /// what they wrote. An error means that the replica cannot go on.
    pub fn apply(&self, entries: &[Entry], meta: Bytes) -> Result<Vec<Vec<Outcome>>, EngineError> {
        let _writer = self.writer.lock();
        let before = self.state();
        let keeps_history = entries
            .iter()
            .flat_map(|entry| &entry.commands)
            .any(|command| {
                matches!(command, Command::Txn(txn) | Command::Permitted { txn, .. } if reads_past(txn))
            });
        let mut run = Run {
            work: Work::new(&*self.engine, (*before).clone(), keeps_history),
            batch: Batch::new(),
        };
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            run.work.state.term = entry.term;
            let answers = entry.commands.iter().map(|command| run.command(command));
            outcomes.push(answers.collect::<Result<Vec<_>, _>>()?);
        }
        run.work.state.applied = Some(meta);
        let Run {
            mut work,
            mut batch,
        } = run;
        write_changes(&mut batch, &before, &work);
        let previous = self
            .hub
            .wants_previous()
            .then(|| previous_values(&work))
            .transpose()?;
        self.engine.write(batch)?;
        let changes = std::mem::take(&mut work.changes);
        let state = work.state;
        let (revision, compacted) = (state.revision, state.compact_revision);
        self.publish(state);
        if revision > before.revision {
            self.hub.feed(&Feed {
                changes: &changes,
                previous: previous.as_deref(),
                revision,
            });
        }
        if compacted > before.compact_revision {
            self.compaction.notify_one();
        }
        Ok(outcomes)
    }
}

struct Run<'a> {
    work: Work<'a>,
    batch: Batch,
}

impl Run<'_> {
    fn command(&mut self, command: &Command) -> Result<Outcome, EngineError> {
        let answer = match command {
            Command::Noop => Ok(self.header()),
            Command::Txn(txn) => self.work.txn(txn).map(Applied::Txn),
            Command::Compact { revision } => self.compact(*revision),
            Command::LeaseGrant { id, ttl_seconds } => self.grant(*id, *ttl_seconds),
            Command::LeaseRevoke { id } => self.revoke(*id),
            Command::LeaseCheckpoint { remaining } => {
                for (id, seconds) in remaining {
                    if let Some(ttl) = self.work.state.leases.checkpoint(*id, *seconds) {
                        self.put_lease(*id, ttl, (*seconds).clamp(0, ttl));
                    }
                }
                Ok(self.header())
            }
            Command::ClusterPut { key, value } => {
                let engine_key = layout::meta_key(self.work.state.slot, meta::CLUSTER, key);
                self.batch.put(Space::Meta, engine_key, value.clone());
                let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                self.work.state.cluster.insert(key, value);
                Ok(self.header())
            }
            Command::ClusterDelete { key } => {
                self.batch.delete(
                    Space::Meta,
                    layout::meta_key(self.work.state.slot, meta::CLUSTER, key),
                );
                self.work.state.cluster.remove(key);
                Ok(self.header())
            }
            Command::Auth(change) => self.auth(change),
            Command::Permitted { auth_revision, txn } => {
                if self.work.state.auth.revision == *auth_revision {
                    self.work.txn(txn).map(Applied::Txn)
                } else {
                    Err(StoreError::from(AuthError::OldRevision).into())
                }
            }
            Command::ActivateFeature { level } => {
                self.work.state.feature_level = self.work.state.feature_level.max(*level);
                Ok(self.header())
            }
        };
        match answer {
            Ok(applied) => Ok(Ok(applied)),
            Err(Stop::Refused(error)) => Ok(Err(error)),
            Err(Stop::Engine(error)) => Err(error),
        }
    }

    fn header(&self) -> Applied {
        Applied::Header(self.work.state.header())
    }

    fn auth(&mut self, change: &AuthChange) -> Result<Applied, Stop> {
        let mut auth = (*self.work.state.auth).clone();
        auth.change(change).map_err(StoreError::from)?;
        let key = layout::meta_key(self.work.state.slot, meta::AUTH, &[]);
        self.batch
            .put(Space::Meta, key, crate::auth::encode_state(&auth));
        self.work.state.auth = Arc::new(auth);
        Ok(self.header())
    }

    fn compact(&mut self, revision: Revision) -> Result<Applied, Stop> {
        let state = &mut self.work.state;
        if revision > state.revision {
            return Err(StoreError::FutureRevision.into());
        }
        if revision <= state.compact_revision {
            return Err(StoreError::Compacted {
                compact_revision: state.compact_revision,
            }
            .into());
        }
        state.compact_revision = revision;
        Ok(self.header())
    }

    fn grant(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<Applied, Stop> {
        if id == 0 {
            return Err(StoreError::LeaseNotFound.into());
        }
        if ttl_seconds > MAX_LEASE_TTL_SECONDS {
            return Err(StoreError::LeaseTtlTooLarge.into());
        }
        if self.work.state.leases.get(id).is_some() {
            return Err(StoreError::LeaseExists.into());
        }
        self.work.state.leases.insert(id, ttl_seconds, 0);
        self.put_lease(id, ttl_seconds, 0);
        Ok(Applied::Lease(LeaseGrant {
            header: self.work.state.header(),
            id,
            ttl_seconds,
        }))
    }

    fn put_lease(&mut self, id: LeaseId, ttl_seconds: i64, remaining_seconds: i64) {
        let key = layout::meta_key(self.work.state.slot, meta::LEASE, &id.to_be_bytes());
        self.batch.put(
            Space::Meta,
            key,
            layout::encode_numbers(&[ttl_seconds, remaining_seconds]),
        );
    }

    /// All keys go at one revision, in their order.
    fn revoke(&mut self, id: LeaseId) -> Result<Applied, Stop> {
        let Some(lease) = self.work.state.leases.remove(id) else {
            return Err(StoreError::LeaseNotFound.into());
        };
        for key in &lease.keys {
            self.work.delete(Bytes::copy_from_slice(key));
        }
        self.work.end_revision();
        let key = layout::meta_key(self.work.state.slot, meta::LEASE, &id.to_be_bytes());
        self.batch.delete(Space::Meta, key);
        Ok(self.header())
    }
}

fn previous_values(work: &Work<'_>) -> Result<Vec<Option<kontiki_store::KeyValue>>, EngineError> {
    work.changes
        .iter()
        .map(|change| work.previous(change))
        .collect()
}

/// Puts what the run did into the batch, its position included.
fn write_changes(batch: &mut Batch, before: &State, work: &Work<'_>) {
    let (state, slot) = (&work.state, work.state.slot);
    let (mut revision, mut number) = (0, 0u32);
    for change in &work.changes {
        let Change { kind, kv, .. } = change;
        number = if kv.mod_revision == revision {
            number + 1
        } else {
            0
        };
        revision = kv.mod_revision;
        let meta = crate::index::KeyMeta {
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        };
        batch.put(
            Space::Keys,
            layout::version_key(slot, &kv.key, revision),
            Record::encode(*kind, &meta, &kv.value),
        );
        batch.put(
            Space::Changes,
            layout::change_key(slot, revision, number),
            layout::encode_change(*kind, &kv.key),
        );
        let current = layout::meta_key(slot, &kv.key, &[]);
        match kind {
            EventKind::Put => batch.put(Space::Current, current, layout::encode_meta(&meta)),
            EventKind::Delete => batch.delete(Space::Current, current),
        }
    }
    let encoded = state.encode();
    if encoded != before.encode() || before.applied.is_none() {
        batch.put(
            Space::Meta,
            layout::meta_key(slot, meta::STATE, &[]),
            encoded,
        );
    }
    if let Some(applied) = &state.applied {
        batch.put(
            Space::Meta,
            layout::meta_key(slot, meta::APPLIED, &[]),
            applied.clone(),
        );
    }
}

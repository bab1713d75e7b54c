//! Reading what happened, for watchers that are behind.

use super::{State, StateMachine};
use crate::engine::{Cursor, EngineError, Space, View};
use crate::layout::{self, Record};
use crate::watch::Interest;
use bytes::Bytes;
use kontiki_store::{Event, EventBatch, EventKind, KeyValue, Revision};
use std::sync::Arc;

/// A chunk ends with the revision in which one of these is reached.
const CHANGES_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;

/// One chunk of history.
pub(crate) enum Chunk {
    /// Everything of interest before `next`; whole revisions only.
    Events {
        batches: Vec<Arc<EventBatch>>,
        next: Revision,
        /// Whether this was all there is.
        complete: bool,
    },
    /// The first wanted revision is gone.
    Compacted(Revision),
}

impl StateMachine {
    /// What happened from revision `from` on.
    pub(crate) fn history(
        &self,
        interest: &Interest,
        from: Revision,
    ) -> Result<Chunk, EngineError> {
        loop {
            let state = self.state();
            if from < state.compact_revision {
                return Ok(Chunk::Compacted(state.compact_revision));
            }
            let chunk = read_chunk(&*self.engine.view()?, &state, interest, from);
            let now = self.state();
            // Only then was everything still there when the view was taken.
            if now.generation == state.generation && from >= now.compact_revision {
                return chunk;
            }
        }
    }
}

fn read_chunk(
    view: &dyn View,
    state: &State,
    interest: &Interest,
    from: Revision,
) -> Result<Chunk, EngineError> {
    let slot = state.slot;
    let end = layout::change_key(slot, state.revision + 1, 0);
    let mut changes = view.cursor(Space::Changes, &end)?;
    let mut versions = view.cursor(Space::Keys, &[slot + 1])?;
    let mut batches = Vec::new();
    let mut pending = EventBatch {
        revision: 0,
        events: Vec::new(),
    };
    let (mut seen, mut bytes) = (0, 0);
    changes.seek(&layout::change_key(slot, from, 0))?;
    while let Some((raw, change)) = changes.item() {
        let revision = layout::parse_change_key(raw)?;
        if revision != pending.revision {
            flush(&mut batches, &mut pending, revision);
            if seen >= CHANGES_MAX || bytes >= BYTES_MAX {
                return Ok(Chunk::Events {
                    batches,
                    next: revision,
                    complete: false,
                });
            }
        }
        let (kind, key) = layout::decode_change(change)?;
        seen += 1;
        if interest.range.contains(key) {
            let wants_previous = interest.prev_kv && revision > state.compact_revision;
            let event = read_event(&mut *versions, slot, kind, key, revision, wants_previous)?;
            bytes += event.kv.key.len() + event.kv.value.len();
            pending.events.push(event);
        }
        changes.next()?;
    }
    flush(&mut batches, &mut pending, 0);
    let next = from.max(state.revision + 1);
    Ok(Chunk::Events {
        batches,
        next,
        complete: true,
    })
}

fn flush(batches: &mut Vec<Arc<EventBatch>>, pending: &mut EventBatch, next: Revision) {
    let full = std::mem::replace(
        pending,
        EventBatch {
            revision: next,
            events: Vec::new(),
        },
    );
    if !full.events.is_empty() {
        batches.push(Arc::new(full));
    }
}

fn read_event(
    versions: &mut dyn Cursor,
    slot: u8,
    kind: EventKind,
    key: &[u8],
    revision: Revision,
    wants_previous: bool,
) -> Result<Event, EngineError> {
    let at = layout::version_key(slot, key, revision);
    let prefix = &at[..at.len() - 8];
    let key = Bytes::copy_from_slice(key);
    let kv = match kind {
        EventKind::Delete if !wants_previous => {
            let kv = KeyValue {
                key,
                mod_revision: revision,
                ..KeyValue::default()
            };
            return Ok(Event {
                kind,
                kv,
                prev_kv: None,
            });
        }
        EventKind::Delete => {
            versions.seek(&at)?;
            KeyValue {
                key: key.clone(),
                mod_revision: revision,
                ..KeyValue::default()
            }
        }
        EventKind::Put => {
            versions.seek(&at)?;
            let (_, raw) = versions
                .item()
                .filter(|(raw, _)| *raw == at)
                .ok_or_else(|| super::read::missing(&key, revision))?;
            key_value(key.clone(), revision, raw)?
        }
    };
    let mut prev_kv = None;
    if wants_previous {
        if versions.item().is_some_and(|(raw, _)| raw == at) {
            versions.next()?;
        }
        if let Some((raw, value)) = versions.item()
            && raw.starts_with(prefix)
            && Record::peek(value)?.0 == EventKind::Put
        {
            prev_kv = Some(key_value(key, layout::version_revision(raw)?, value)?);
        }
    }
    Ok(Event { kind, kv, prev_kv })
}

fn key_value(key: Bytes, mod_revision: Revision, raw: &[u8]) -> Result<KeyValue, EngineError> {
    let record = Record::decode(Bytes::copy_from_slice(raw))?;
    Ok(KeyValue {
        key,
        value: record.value,
        create_revision: record.create_revision,
        mod_revision,
        version: record.version,
        lease: record.lease,
    })
}

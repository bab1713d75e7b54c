//! Ranges: at the current revision from the index, at an older one from the
//! versions in the engine; and read-only transactions.

use super::txn::{Stop, Work};
use super::{State, StateMachine};
use crate::check::check_range;
use crate::engine::{Engine, EngineError, Space};
use crate::index::{Key, KeyIndex, KeyMeta};
use crate::layout::{self, Record};
use bytes::{Bytes, BytesMut};
use kontiki_store::{
    EventKind, KeyValue, Op, RangeRequest, RangeResponse, Revision, SortKey, SortOrder, StoreError,
    TxnRequest, TxnResponse,
};
use std::cmp::Ordering;

/// Values fetched from the engine in one call.
const FETCH_MAX: usize = 512;
/// From so many values on one pass of a cursor costs less than single reads.
const SCAN_MIN: usize = 16;
/// Older or newer versions of a key that are stepped over one by one before
/// the cursor is sent past them.
const STEPS_MAX: usize = 8;

/// Where values come from.
pub(crate) trait Source {
    fn value(&self, key: &[u8], revision: Revision) -> Result<Bytes, EngineError>;

    fn values(&self, wanted: &[(&[u8], Revision)]) -> Result<Vec<Bytes>, EngineError>;
}

pub(crate) fn missing(key: &[u8], revision: Revision) -> EngineError {
    layout::damaged(
        "a value",
        format!(
            "the version of {} at revision {revision} is missing",
            key.escape_ascii()
        ),
    )
}

pub(crate) fn key_value(key: Bytes, meta: KeyMeta, value: Bytes) -> KeyValue {
    KeyValue {
        key,
        value,
        create_revision: meta.create_revision,
        mod_revision: meta.mod_revision,
        version: meta.version,
        lease: meta.lease,
    }
}

pub(crate) fn check_revision(state: &State, revision: Revision) -> Result<(), StoreError> {
    if revision <= 0 {
        Ok(())
    } else if revision > state.revision {
        Err(StoreError::FutureRevision)
    } else if revision < state.compact_revision {
        Err(StoreError::Compacted {
            compact_revision: state.compact_revision,
        })
    } else {
        Ok(())
    }
}

/// Values straight from the engine.
pub(crate) fn engine_values(
    engine: &dyn Engine,
    slot: u8,
    wanted: &[(&[u8], Revision)],
) -> Result<Vec<Bytes>, EngineError> {
    if wanted.len() >= SCAN_MIN && wanted.is_sorted_by(|a, b| a.0 < b.0) {
        return scanned_values(engine, slot, wanted);
    }
    let mut values = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(FETCH_MAX) {
        let keys: Vec<_> = wanted
            .iter()
            .map(|(key, revision)| layout::version_key(slot, key, *revision))
            .collect();
        for (raw, (key, revision)) in engine.get_many(Space::Keys, &keys)?.into_iter().zip(wanted) {
            values.push(Record::decode(raw.ok_or_else(|| missing(key, *revision))?)?.value);
        }
    }
    Ok(values)
}

/// The same by one pass over the versions, whose order is that of the keys.
fn scanned_values(
    engine: &dyn Engine,
    slot: u8,
    wanted: &[(&[u8], Revision)],
) -> Result<Vec<Bytes>, EngineError> {
    let Some((last, _)) = wanted.last() else {
        return Ok(Vec::new());
    };
    let view = engine.view()?;
    let mut cursor = view.cursor(Space::Keys, &layout::after_versions(slot, last))?;
    let mut values = Vec::with_capacity(wanted.len());
    let mut target = Vec::new();
    for (key, revision) in wanted {
        target.clear();
        layout::put_version_key(&mut target, slot, key, *revision);
        if values.is_empty() {
            cursor.seek(&target)?;
        } else {
            step_to(&mut *cursor, &target)?;
        }
        match cursor.item() {
            Some((raw, record)) if raw == target => {
                values.push(Bytes::copy_from_slice(Record::peek_value(record)?));
            }
            _ => return Err(missing(key, *revision)),
        }
    }
    Ok(values)
}

fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, meta: &KeyMeta) -> bool {
    let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(
        meta.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        meta.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

fn limit_of(request: &RangeRequest) -> usize {
    usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX)
}

/// A range over an index. Without filters and in the order of the keys it
/// costs what it answers, not what the range holds.
pub(crate) fn range_index(
    index: &KeyIndex,
    request: &RangeRequest,
    source: &dyn Source,
) -> Result<RangeResponse, EngineError> {
    let (from, to) = index.ranks(&request.range);
    let count = to - from;
    let limit = limit_of(request);
    if request.count_only {
        return Ok(RangeResponse {
            count: count as i64,
            ..RangeResponse::default()
        });
    }
    if request.sort_by == SortKey::Key && !filters(request) {
        let taken = count.min(limit);
        let descend = request.order == SortOrder::Descend;
        let (from, to) = if descend {
            (to - taken, to)
        } else {
            (from, from + taken)
        };
        let mut metas: Vec<_> = index
            .slice(from, to)
            .map(|(key, meta)| (key.clone(), meta))
            .collect();
        if descend {
            metas.reverse();
        }
        return respond(metas, count, taken < count, request, source);
    }
    let metas = index
        .slice(from, to)
        .map(|(key, meta)| (key.clone(), meta))
        .collect();
    select(metas, request, source)
}

/// A range at an older revision, from the versions in the engine.
pub(crate) fn range_past(
    engine: &dyn Engine,
    slot: u8,
    revision: Revision,
    request: &RangeRequest,
    source: &dyn Source,
) -> Result<RangeResponse, EngineError> {
    let metas = keys_at(engine, slot, revision, request)?;
    if request.count_only {
        return Ok(RangeResponse {
            count: metas.len() as i64,
            ..RangeResponse::default()
        });
    }
    select(metas, request, source)
}

/// Filters, sorts and cuts, as etcd does: the count is of the whole range.
fn select(
    mut metas: Vec<(Key, KeyMeta)>,
    request: &RangeRequest,
    source: &dyn Source,
) -> Result<RangeResponse, EngineError> {
    let (count, limit) = (metas.len(), limit_of(request));
    metas.retain(|(_, meta)| passes(request, meta));
    if request.sort_by == SortKey::Value {
        return select_by_value(metas, count, request, source);
    }
    let by = |a: &(Key, KeyMeta), b: &(Key, KeyMeta)| match request.sort_by {
        SortKey::Key | SortKey::Value => a.0.cmp(&b.0),
        SortKey::Version => a.1.version.cmp(&b.1.version),
        SortKey::Create => a.1.create_revision.cmp(&b.1.create_revision),
        SortKey::Mod => a.1.mod_revision.cmp(&b.1.mod_revision),
    };
    metas.sort_by(|a, b| ordered(request.order, by(a, b)));
    let more = metas.len() > limit;
    metas.truncate(limit);
    respond(metas, count, more, request, source)
}

fn select_by_value(
    metas: Vec<(Key, KeyMeta)>,
    count: usize,
    request: &RangeRequest,
    source: &dyn Source,
) -> Result<RangeResponse, EngineError> {
    let all = RangeRequest {
        keys_only: false,
        ..request.clone()
    };
    let mut response = respond(metas, count, false, &all, source)?;
    response
        .kvs
        .sort_by(|a, b| ordered(request.order, a.value.cmp(&b.value)));
    let limit = limit_of(request);
    response.more = response.kvs.len() > limit;
    response.kvs.truncate(limit);
    if request.keys_only {
        response
            .kvs
            .iter_mut()
            .for_each(|kv| kv.value = Bytes::new());
    }
    Ok(response)
}

fn ordered(order: SortOrder, ordering: Ordering) -> Ordering {
    if order == SortOrder::Descend {
        ordering.reverse()
    } else {
        ordering
    }
}

fn respond(
    metas: Vec<(Key, KeyMeta)>,
    count: usize,
    more: bool,
    request: &RangeRequest,
    source: &dyn Source,
) -> Result<RangeResponse, EngineError> {
    let values = if request.keys_only {
        vec![Bytes::new(); metas.len()]
    } else {
        let wanted: Vec<_> = metas
            .iter()
            .map(|(key, meta)| (&key[..], meta.mod_revision))
            .collect();
        source.values(&wanted)?
    };
    // All keys share one allocation; they are no longer kept than the answer is.
    let mut keys = BytesMut::with_capacity(metas.iter().map(|(key, _)| key.len()).sum());
    metas
        .iter()
        .for_each(|(key, _)| keys.extend_from_slice(key));
    let mut keys = keys.freeze();
    let kvs = metas
        .iter()
        .zip(values)
        .map(|((key, meta), value)| key_value(keys.split_to(key.len()), *meta, value))
        .collect();
    Ok(RangeResponse {
        kvs,
        more,
        count: count as i64,
        ..RangeResponse::default()
    })
}

/// The keys of the range that lived at `revision`.
fn keys_at(
    engine: &dyn Engine,
    slot: u8,
    revision: Revision,
    request: &RangeRequest,
) -> Result<Vec<(Key, KeyMeta)>, EngineError> {
    let range = &request.range;
    let end = if range.is_one() {
        layout::after_versions(slot, &range.key)
    } else if range.is_open_ended() {
        vec![slot + 1]
    } else {
        layout::versions_from(slot, &range.end)
    };
    let view = engine.view()?;
    let mut cursor = view.cursor(Space::Keys, &end)?;
    let mut found = Vec::new();
    cursor.seek(&layout::versions_from(slot, &range.key))?;
    while let Some((raw, _)) = cursor.item() {
        let (key, _) = layout::parse_version_key(raw)?;
        let prefix = layout::versions_prefix(slot, &key);
        let at = layout::version_key(slot, &key, revision);
        step_to(&mut *cursor, &at)?;
        if let Some((raw, value)) = cursor.item()
            && raw.starts_with(&prefix)
        {
            let (kind, create_revision, version, lease) = Record::peek(value)?;
            if kind == EventKind::Put {
                let mod_revision = layout::version_revision(raw)?;
                found.push((
                    Key::from(key.clone()),
                    KeyMeta {
                        create_revision,
                        mod_revision,
                        version,
                        lease,
                    },
                ));
            }
        }
        step_to(&mut *cursor, &layout::after_versions(slot, &key))?;
    }
    Ok(found)
}

/// Moves forward to the first item at or after `target`.
fn step_to(cursor: &mut dyn crate::engine::Cursor, target: &[u8]) -> Result<(), EngineError> {
    for _ in 0..STEPS_MAX {
        match cursor.item() {
            Some((raw, _)) if raw < target => cursor.next()?,
            _ => return Ok(()),
        }
    }
    cursor.seek(target)
}

impl StateMachine {
    /// Reads a range, now or at any revision that was not compacted.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        check_range(request)?;
        self.read(request.revision, |work| work.range_now(request))
    }

    /// Runs a transaction that only reads. The caller made sure that it does.
    pub fn read_txn(&self, txn: &TxnRequest) -> Result<TxnResponse, StoreError> {
        self.read(oldest_read(txn).unwrap_or(0), |work| work.txn(txn))
    }

    /// Runs `read`, which reads at `revision` (0: only now) or later, on the
    /// published state; again if what it needs may have gone away under it.
    /// The published state has moved on then, so no attempt repeats another.
    fn read<T>(
        &self,
        revision: Revision,
        read: impl Fn(&mut Work<'_>) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        loop {
            let state = self.state();
            let outcome = read(&mut Work::new(&*self.engine, (*state).clone(), false));
            let now = self.state();
            let read_at = if revision > 0 {
                revision
            } else {
                state.revision
            };
            let intact = now.generation == state.generation && now.compact_revision <= read_at;
            match outcome {
                // A read of the index that found every value is right whatever happened since.
                Ok(answer) if intact || revision <= 0 => return Ok(answer),
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Engine(error)) if intact => {
                    tracing::error!(%error, "a read failed");
                    return Err(StoreError::Internal(error.to_string()));
                }
                Ok(_) | Err(Stop::Engine(_)) => {}
            }
        }
    }
}

/// The oldest revision that a range of the transaction names.
fn oldest_read(txn: &TxnRequest) -> Option<Revision> {
    let named = txn
        .success
        .iter()
        .chain(&txn.failure)
        .filter_map(|op| match op {
            Op::Range(range) => Some(range.revision).filter(|revision| *revision > 0),
            Op::Txn(txn) => oldest_read(txn),
            Op::Put(_) | Op::DeleteRange(_) => None,
        });
    named.min()
}

impl Work<'_> {
    fn range_now(&mut self, request: &RangeRequest) -> Result<RangeResponse, Stop> {
        check_revision(&self.state, request.revision)?;
        self.range(request)
    }
}

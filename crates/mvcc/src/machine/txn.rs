//! One transaction against a working state.
//!
//! As in etcd, every condition of the path is decided and every operation on
//! the path is checked before anything is written; only then the operations
//! run in order, each seeing the ones before it, all at one revision.

use super::State;
use super::read::{self, Source};
use crate::check::check_single_writes;
use crate::engine::{Engine, EngineError, Space};
use crate::index::{KeyIndex, KeyMeta};
use crate::layout::{self, Record};
use bytes::Bytes;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, EventKind, Header,
    KeyValue, Op, OpResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, Revision,
    StoreError, TxnRequest, TxnResponse,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The command is refused; the answer for its caller.
    Refused(StoreError),
    /// The replica cannot go on.
    Engine(EngineError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// One change, as watchers and the engine need it.
pub(crate) struct Change {
    pub(crate) kind: EventKind,
    pub(crate) kv: KeyValue,
    /// What was there before.
    pub(crate) previous: Option<KeyMeta>,
}

/// The state that a run of entries works on, and what it wrote so far.
pub(crate) struct Work<'a> {
    engine: &'a dyn Engine,
    pub(crate) state: State,
    /// The state before the run; the engine holds exactly this.
    base_revision: Revision,
    /// Values written by the run, which the engine does not have yet.
    written: HashMap<(Bytes, Revision), Bytes>,
    /// The index after each revision of the run; kept only if `keeps_history`.
    past: BTreeMap<Revision, KeyIndex>,
    keeps_history: bool,
    pub(crate) changes: Vec<Change>,
    /// Changes at the revision being written.
    in_revision: usize,
}

/// Which branch was taken, here and in the nested transactions on the path.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl<'a> Work<'a> {
    /// `keeps_history` must be set if a transaction of the run reads the past.
    pub(crate) fn new(engine: &'a dyn Engine, state: State, keeps_history: bool) -> Self {
        let base_revision = state.revision;
        let mut past = BTreeMap::new();
        if keeps_history {
            past.insert(base_revision, state.index.clone());
        }
        Self {
            engine,
            state,
            base_revision,
            written: HashMap::new(),
            past,
            keeps_history,
            changes: Vec::new(),
            in_revision: 0,
        }
    }

    pub(crate) fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, Stop> {
        check_single_writes(txn)?;
        let path = self.path(txn)?;
        self.check_path(txn, &path)?;
        let mut response = self.run(txn, &path)?;
        self.end_revision();
        stamp(&mut response, self.state.header());
        Ok(response)
    }

    /// Makes the revision under way the current one, if anything was written.
    pub(crate) fn end_revision(&mut self) {
        if self.in_revision == 0 {
            return;
        }
        self.in_revision = 0;
        self.state.revision += 1;
        if self.keeps_history {
            self.past
                .insert(self.state.revision, self.state.index.clone());
        }
    }

    fn header(&self) -> Header {
        let revision = self.state.revision + Revision::from(self.in_revision > 0);
        Header {
            revision,
            raft_term: self.state.term,
        }
    }

    fn path(&self, txn: &TxnRequest) -> Result<Path, Stop> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let mut nested = Vec::new();
        for op in ops {
            if let Op::Txn(txn) = op {
                nested.push(self.path(txn)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Stop> {
        let mut none = true;
        for (key, meta) in self.state.index.range(&compare.range) {
            none = false;
            let order = match &compare.target {
                CompareTarget::Version(want) => meta.version.cmp(want),
                CompareTarget::CreateRevision(want) => meta.create_revision.cmp(want),
                CompareTarget::ModRevision(want) => meta.mod_revision.cmp(want),
                CompareTarget::Lease(want) => meta.lease.cmp(want),
                CompareTarget::Value(want) => self.value(key, meta.mod_revision)?.cmp(want),
            };
            if !relation_holds(compare.op, order) {
                return Ok(false);
            }
        }
        if none {
            // Nothing there compares as zeroes; its value equals nothing.
            return Ok(match &compare.target {
                CompareTarget::Value(_) => false,
                CompareTarget::Version(want)
                | CompareTarget::CreateRevision(want)
                | CompareTarget::ModRevision(want)
                | CompareTarget::Lease(want) => relation_holds(compare.op, 0.cmp(want)),
            });
        }
        Ok(true)
    }

    fn check_path(&self, txn: &TxnRequest, path: &Path) -> Result<(), Stop> {
        let mut nested = path.nested.iter();
        for op in path.ops(txn) {
            match op {
                Op::DeleteRange(_) => {}
                Op::Range(range) => {
                    read::check_revision(&self.state, range.revision)?;
                }
                Op::Put(put) => {
                    if (put.ignore_value || put.ignore_lease)
                        && self.state.index.get(&put.key).is_none()
                    {
                        return Err(StoreError::KeyNotFound.into());
                    }
                    if put.lease != 0 && self.state.leases.get(put.lease).is_none() {
                        return Err(StoreError::LeaseNotFound.into());
                    }
                }
                Op::Txn(txn) => {
                    self.check_path(txn, nested.next().expect("one path a nested transaction"))?
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, txn: &TxnRequest, path: &Path) -> Result<TxnResponse, Stop> {
        let mut nested = path.nested.iter();
        let mut responses = Vec::with_capacity(path.ops(txn).len());
        for op in path.ops(txn) {
            responses.push(match op {
                Op::Range(range) => OpResponse::Range(self.range(range)?),
                Op::Put(put) => OpResponse::Put(self.put(put)?),
                Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete_range(delete)?),
                Op::Txn(txn) => {
                    let path = nested.next().expect("one path a nested transaction");
                    OpResponse::Txn(self.run(txn, path)?)
                }
            });
        }
        Ok(TxnResponse {
            header: Header::default(),
            succeeded: path.succeeded,
            responses,
        })
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Stop> {
        let revision = request.revision;
        let mut response =
            if revision <= 0 || revision == self.state.revision && self.in_revision == 0 {
                read::range_index(&self.state.index, request, self)?
            } else if let Some(index) = self.past.get(&revision) {
                read::range_index(index, request, self)?
            } else {
                read::range_past(self.engine, self.state.slot, revision, request, self)?
            };
        response.header = self.header();
        Ok(response)
    }

    fn put(&mut self, put: &PutRequest) -> Result<PutResponse, Stop> {
        let previous = self.state.index.get(&put.key);
        let previous_kv = match previous {
            Some(meta) if put.prev_kv || put.ignore_value => {
                Some(self.key_value(put.key.clone(), meta)?)
            }
            _ => None,
        };
        let value = match &previous_kv {
            Some(kv) if put.ignore_value => kv.value.clone(),
            _ => put.value.clone(),
        };
        let lease = match previous {
            Some(meta) if put.ignore_lease => meta.lease,
            _ => put.lease,
        };
        let revision = self.state.revision + 1;
        let meta = KeyMeta {
            create_revision: previous.map_or(revision, |meta| meta.create_revision),
            mod_revision: revision,
            version: previous.map_or(1, |meta| meta.version + 1),
            lease,
        };
        self.state.index.insert(&put.key, meta);
        self.state
            .leases
            .reattach(&put.key, previous.map_or(0, |meta| meta.lease), lease);
        self.written
            .insert((put.key.clone(), revision), value.clone());
        let kv = read::key_value(put.key.clone(), meta, value);
        self.changes.push(Change {
            kind: EventKind::Put,
            kv,
            previous,
        });
        self.in_revision += 1;
        Ok(PutResponse {
            prev_kv: previous_kv.filter(|_| put.prev_kv),
        })
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Stop> {
        let doomed: Vec<(Bytes, KeyMeta)> = self
            .state
            .index
            .range(&delete.range)
            .map(|(key, meta)| (Bytes::copy_from_slice(key), meta))
            .collect();
        let mut response = DeleteRangeResponse {
            deleted: doomed.len() as i64,
            prev_kvs: Vec::new(),
        };
        for (key, meta) in doomed {
            if delete.prev_kv {
                response.prev_kvs.push(self.key_value(key.clone(), meta)?);
            }
            self.delete(key);
        }
        Ok(response)
    }

    /// Deletes one key at the revision under way.
    pub(crate) fn delete(&mut self, key: Bytes) {
        let Some(previous) = self.state.index.remove(&key) else {
            return;
        };
        self.state.leases.reattach(&key, previous.lease, 0);
        let kv = KeyValue {
            key,
            mod_revision: self.state.revision + 1,
            ..KeyValue::default()
        };
        self.changes.push(Change {
            kind: EventKind::Delete,
            kv,
            previous: Some(previous),
        });
        self.in_revision += 1;
    }

    fn key_value(&self, key: Bytes, meta: KeyMeta) -> Result<KeyValue, EngineError> {
        let value = self.value(&key, meta.mod_revision)?;
        Ok(read::key_value(key, meta, value))
    }

    /// What was there before a change, for watchers.
    pub(crate) fn previous(&self, change: &Change) -> Result<Option<KeyValue>, EngineError> {
        change
            .previous
            .map(|meta| self.key_value(change.kv.key.clone(), meta))
            .transpose()
    }
}

impl Source for Work<'_> {
    fn value(&self, key: &[u8], revision: Revision) -> Result<Bytes, EngineError> {
        if revision > self.base_revision {
            let key = (Bytes::copy_from_slice(key), revision);
            return self
                .written
                .get(&key)
                .cloned()
                .ok_or_else(|| read::missing(key.0.as_ref(), revision));
        }
        let raw = self.engine.get(
            Space::Keys,
            &layout::version_key(self.state.slot, key, revision),
        )?;
        Ok(Record::decode(raw.ok_or_else(|| read::missing(key, revision))?)?.value)
    }

    fn values(&self, wanted: &[(&[u8], Revision)]) -> Result<Vec<Bytes>, EngineError> {
        if wanted
            .iter()
            .any(|(_, revision)| *revision > self.base_revision)
        {
            return wanted
                .iter()
                .map(|(key, revision)| self.value(key, *revision))
                .collect();
        }
        read::engine_values(self.engine, self.state.slot, wanted)
    }
}

impl Path {
    fn ops<'t>(&self, txn: &'t TxnRequest) -> &'t [Op] {
        if self.succeeded {
            &txn.success
        } else {
            &txn.failure
        }
    }
}

fn relation_holds(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::Less => order.is_lt(),
    }
}

/// A transaction answers the revision after all of it, at every level.
fn stamp(response: &mut TxnResponse, header: Header) {
    response.header = header;
    for response in &mut response.responses {
        if let OpResponse::Txn(response) = response {
            stamp(response, header);
        }
    }
}

/// Whether some range of the transaction asks for a revision of its own.
pub(crate) fn reads_past(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Range(range) => range.revision > 0,
        Op::Txn(txn) => reads_past(txn),
        Op::Put(_) | Op::DeleteRange(_) => false,
    })
}

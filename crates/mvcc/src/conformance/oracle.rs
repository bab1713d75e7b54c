//! The dumb oracle: every version of every key in one list, each question
//! answered by looking at all of them.

use bytes::Bytes;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventBatch,
    EventKind, Header, KeyRange, KeyValue, LeaseId, Op, OpResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, Revision, SortKey, SortOrder, StoreError, TxnRequest, TxnResponse,
};
use std::collections::BTreeSet;

/// One entry of the list.
#[derive(Clone, Debug)]
struct Version {
    deleted: bool,
    kv: KeyValue,
}

/// A store that forgets nothing and is slow.
#[derive(Clone, Debug)]
pub struct Oracle {
    versions: Vec<Version>,
    /// The last revision.
    pub revision: Revision,
    /// The compacted revision.
    pub compacted: Revision,
    /// The leases.
    pub leases: BTreeSet<LeaseId>,
    /// The term that headers answer.
    pub term: u64,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            versions: Vec::new(),
            revision: 1,
            compacted: 0,
            leases: BTreeSet::new(),
            term: 0,
        }
    }
}

impl Oracle {
    fn header(&self, revision: Revision) -> Header {
        Header {
            revision,
            raft_term: self.term,
        }
    }

    /// The newest version of a key at or before a revision.
    fn at(&self, key: &[u8], revision: Revision) -> Option<&KeyValue> {
        let newest = self
            .versions
            .iter()
            .rev()
            .find(|version| version.kv.key == key && version.kv.mod_revision <= revision);
        newest
            .filter(|version| !version.deleted)
            .map(|version| &version.kv)
    }

    /// The live keys of a range at a revision, in order.
    #[must_use]
    pub fn live(&self, range: &KeyRange, revision: Revision) -> Vec<KeyValue> {
        let keys: BTreeSet<Bytes> = self
            .versions
            .iter()
            .map(|version| version.kv.key.clone())
            .collect();
        keys.iter()
            .filter(|key| range.contains(key))
            .filter_map(|key| self.at(key, revision).cloned())
            .collect()
    }

    /// What a watcher of `range` from `from` on must see.
    #[must_use]
    pub fn history(&self, range: &KeyRange, from: Revision, prev_kv: bool) -> Vec<EventBatch> {
        let mut batches: Vec<EventBatch> = Vec::new();
        for version in &self.versions {
            let revision = version.kv.mod_revision;
            if revision < from || !range.contains(&version.kv.key) {
                continue;
            }
            let kind = if version.deleted {
                EventKind::Delete
            } else {
                EventKind::Put
            };
            let previous = self
                .at(&version.kv.key, revision - 1)
                .filter(|_| prev_kv)
                .cloned();
            let event = Event {
                kind,
                kv: version.kv.clone(),
                prev_kv: previous,
            };
            match batches.last_mut() {
                Some(batch) if batch.revision == revision => batch.events.push(event),
                _ => batches.push(EventBatch {
                    revision,
                    events: vec![event],
                }),
            }
        }
        batches
    }

    /// Reads a range; `now` is the revision that "now" means.
    pub fn range(
        &self,
        request: &RangeRequest,
        now: Revision,
    ) -> Result<RangeResponse, StoreError> {
        if request.revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        if request.revision > 0 && request.revision < self.compacted {
            return Err(StoreError::Compacted {
                compact_revision: self.compacted,
            });
        }
        let mut kvs = self.live(
            &request.range,
            if request.revision > 0 {
                request.revision
            } else {
                now
            },
        );
        let count = kvs.len() as i64;
        let header = self.header(now);
        if request.count_only {
            return Ok(RangeResponse {
                header,
                count,
                ..RangeResponse::default()
            });
        }
        let (min_mod, max_mod) = (request.min_mod_revision, request.max_mod_revision);
        let (min_create, max_create) = (request.min_create_revision, request.max_create_revision);
        kvs.retain(|kv| min_mod == 0 || kv.mod_revision >= min_mod);
        kvs.retain(|kv| max_mod == 0 || kv.mod_revision <= max_mod);
        kvs.retain(|kv| min_create == 0 || kv.create_revision >= min_create);
        kvs.retain(|kv| max_create == 0 || kv.create_revision <= max_create);
        kvs.sort_by(|a, b| {
            let order = match request.sort_by {
                SortKey::Key => a.key.cmp(&b.key),
                SortKey::Version => a.version.cmp(&b.version),
                SortKey::Create => a.create_revision.cmp(&b.create_revision),
                SortKey::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortKey::Value => a.value.cmp(&b.value),
            };
            if request.order == SortOrder::Descend {
                order.reverse()
            } else {
                order
            }
        });
        let more = request.limit > 0 && kvs.len() as i64 > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse {
            header,
            kvs,
            more,
            count,
        })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let live = self.live(&compare.range, self.revision);
        let relation = |order: std::cmp::Ordering| match compare.op {
            CompareOp::Equal => order.is_eq(),
            CompareOp::NotEqual => order.is_ne(),
            CompareOp::Greater => order.is_gt(),
            CompareOp::Less => order.is_lt(),
        };
        let one = |kv: &KeyValue| {
            relation(match &compare.target {
                CompareTarget::Version(want) => kv.version.cmp(want),
                CompareTarget::CreateRevision(want) => kv.create_revision.cmp(want),
                CompareTarget::ModRevision(want) => kv.mod_revision.cmp(want),
                CompareTarget::Lease(want) => kv.lease.cmp(want),
                CompareTarget::Value(want) => kv.value.cmp(want),
            })
        };
        if live.is_empty() {
            !matches!(compare.target, CompareTarget::Value(_)) && one(&KeyValue::default())
        } else {
            live.iter().all(one)
        }
    }

    /// Runs a transaction that passed the structural check.
    pub fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, StoreError> {
        self.check(txn)?;
        let before = self.clone();
        let mut response = self.run(&before, txn);
        if self.versions.len() > before.versions.len() {
            self.revision += 1;
        }
        restamp(&mut response, self.header(self.revision));
        Ok(response)
    }

    /// Ends a lease.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Header, StoreError> {
        if !self.leases.remove(&id) {
            return Err(StoreError::LeaseNotFound);
        }
        let doomed = self.live(&everything(), self.revision);
        let doomed: Vec<_> = doomed.into_iter().filter(|kv| kv.lease == id).collect();
        for kv in &doomed {
            self.delete(&kv.key);
        }
        if !doomed.is_empty() {
            self.revision += 1;
        }
        Ok(self.header(self.revision))
    }

    /// Compacts.
    pub fn compact(&mut self, revision: Revision) -> Result<Header, StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        if revision <= self.compacted {
            return Err(StoreError::Compacted {
                compact_revision: self.compacted,
            });
        }
        self.compacted = revision;
        Ok(self.header(self.revision))
    }

    fn check(&self, txn: &TxnRequest) -> Result<(), StoreError> {
        let ops = if txn.compare.iter().all(|compare| self.holds(compare)) {
            &txn.success
        } else {
            &txn.failure
        };
        for op in ops {
            match op {
                Op::Range(range) => {
                    self.range(range, self.revision)?;
                }
                Op::Put(put) => {
                    let exists = self.at(&put.key, self.revision).is_some();
                    if (put.ignore_value || put.ignore_lease) && !exists {
                        return Err(StoreError::KeyNotFound);
                    }
                    if put.lease != 0 && !self.leases.contains(&put.lease) {
                        return Err(StoreError::LeaseNotFound);
                    }
                }
                Op::DeleteRange(_) => {}
                Op::Txn(txn) => self.check(txn)?,
            }
        }
        Ok(())
    }

    fn run(&mut self, before: &Self, txn: &TxnRequest) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| before.holds(compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let mut responses = Vec::new();
        for op in ops {
            let now = self.revision + Revision::from(self.versions.len() > before.versions.len());
            responses.push(match op {
                Op::Range(range) => {
                    OpResponse::Range(self.range(range, now).expect("the path was checked"))
                }
                Op::Put(put) => OpResponse::Put(self.put(put)),
                Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete_range(delete)),
                Op::Txn(txn) => OpResponse::Txn(self.run(before, txn)),
            });
        }
        TxnResponse {
            header: Header::default(),
            succeeded,
            responses,
        }
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let revision = self.revision + 1;
        let previous = self.at(&put.key, revision).cloned();
        let old = previous.clone().unwrap_or(KeyValue {
            create_revision: revision,
            ..KeyValue::default()
        });
        let kv = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value {
                old.value
            } else {
                put.value.clone()
            },
            create_revision: old.create_revision,
            mod_revision: revision,
            version: old.version + 1,
            lease: if put.ignore_lease {
                old.lease
            } else {
                put.lease
            },
        };
        self.versions.push(Version { deleted: false, kv });
        PutResponse {
            prev_kv: previous.filter(|_| put.prev_kv),
        }
    }

    fn delete(&mut self, key: &Bytes) {
        let kv = KeyValue {
            key: key.clone(),
            mod_revision: self.revision + 1,
            ..KeyValue::default()
        };
        self.versions.push(Version { deleted: true, kv });
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed = self.live(&delete.range, self.revision + 1);
        for kv in &doomed {
            self.delete(&kv.key);
        }
        let deleted = doomed.len() as i64;
        DeleteRangeResponse {
            deleted,
            prev_kvs: if delete.prev_kv { doomed } else { Vec::new() },
        }
    }
}

/// The range of all keys.
#[must_use]
pub fn everything() -> KeyRange {
    KeyRange {
        key: Bytes::from_static(b"\0"),
        end: Bytes::from_static(b"\0"),
    }
}

fn restamp(response: &mut TxnResponse, header: Header) {
    response.header = header;
    for response in &mut response.responses {
        if let OpResponse::Txn(response) = response {
            restamp(response, header);
        }
    }
}

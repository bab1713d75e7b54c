//! The sequential model: every version of every key, forgotten never.

use bytes::Bytes;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind,
    Header, KeyRange, KeyValue, LeaseId, Op, OpResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, Revision, SortKey, SortOrder, TxnRequest, TxnResponse,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A store that one client uses at a time.
#[derive(Clone, Debug)]
pub struct Model {
    revision: Revision,
    /// Every key's versions, oldest first; `None` is a deletion.
    versions: BTreeMap<Bytes, Vec<(Revision, Option<KeyValue>)>>,
    /// What happened at each revision, with what was there before.
    changes: BTreeMap<Revision, Vec<Event>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            versions: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }
}

/// A transaction under way: what it wrote so far.
struct Draft<'m> {
    model: &'m Model,
    written: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<Event>,
}

impl Model {
    /// The last revision; 1 before the first write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What happened, by revision.
    #[must_use]
    pub fn changes(&self) -> &BTreeMap<Revision, Vec<Event>> {
        &self.changes
    }

    /// The keys of a range as they were at a revision, in order.
    #[must_use]
    pub fn live(&self, range: &KeyRange, revision: Revision) -> Vec<KeyValue> {
        let from = self.versions.range(range.key.clone()..);
        from.take_while(|(key, _)| range.contains(key))
            .filter_map(|(_, versions)| at(versions, revision).cloned())
            .collect()
    }

    /// The answer to a range when the store stands at `now`.
    #[must_use]
    pub fn range(&self, request: &RangeRequest, now: Revision) -> RangeResponse {
        let revision = if request.revision > 0 {
            request.revision
        } else {
            now
        };
        let mut response = select(request, self.live(&request.range, revision));
        response.header.revision = now;
        response
    }

    /// What a transaction would answer and do now.
    #[must_use]
    pub fn txn(&self, txn: &TxnRequest) -> (TxnResponse, Vec<Event>) {
        let mut draft = Draft {
            model: self,
            written: BTreeMap::new(),
            events: Vec::new(),
        };
        let mut response = draft.run(txn);
        let revision = self.revision + Revision::from(!draft.events.is_empty());
        let header = Header {
            revision,
            ..Header::default()
        };
        stamp(&mut response, header);
        (response, draft.events)
    }

    /// What the end of a lease would do now.
    #[must_use]
    pub fn revoke(&self, id: LeaseId) -> Vec<Event> {
        let all = self.live(&everything(), self.revision);
        let doomed = all.into_iter().filter(|kv| kv.lease == id);
        doomed.map(|kv| deletion(self.revision + 1, kv)).collect()
    }

    /// Lets `events` happen at the next revision.
    pub fn commit(&mut self, events: Vec<Event>) {
        self.revision += 1;
        for event in &events {
            let versions = self.versions.entry(event.kv.key.clone()).or_default();
            let kv = (event.kind == EventKind::Put).then(|| event.kv.clone());
            versions.push((self.revision, kv));
        }
        self.changes.insert(self.revision, events);
    }
}

fn at(versions: &[(Revision, Option<KeyValue>)], revision: Revision) -> Option<&KeyValue> {
    let newest = versions.iter().rev().find(|(at, _)| *at <= revision)?;
    newest.1.as_ref()
}

fn deletion(revision: Revision, previous: KeyValue) -> Event {
    Event {
        kind: EventKind::Delete,
        kv: KeyValue {
            key: previous.key.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        },
        prev_kv: Some(previous),
    }
}

/// The range of all keys.
pub(crate) fn everything() -> KeyRange {
    KeyRange {
        key: Bytes::from_static(b"\0"),
        end: Bytes::from_static(b"\0"),
    }
}

/// Filters, sorts and cuts what a range found.
fn select(request: &RangeRequest, mut kvs: Vec<KeyValue>) -> RangeResponse {
    let mut response = RangeResponse {
        count: i64::try_from(kvs.len()).unwrap_or(i64::MAX),
        ..RangeResponse::default()
    };
    if request.count_only {
        return response;
    }
    let within = |value: Revision, min: Revision, max: Revision| {
        (min == 0 || value >= min) && (max == 0 || value <= max)
    };
    kvs.retain(|kv| {
        within(
            kv.mod_revision,
            request.min_mod_revision,
            request.max_mod_revision,
        ) && within(
            kv.create_revision,
            request.min_create_revision,
            request.max_create_revision,
        )
    });
    kvs.sort_by(|a, b| {
        let order = match request.sort_by {
            SortKey::Key => a.key.cmp(&b.key),
            SortKey::Version => a.version.cmp(&b.version),
            SortKey::Create => a.create_revision.cmp(&b.create_revision),
            SortKey::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortKey::Value => a.value.cmp(&b.value),
        };
        match request.order {
            SortOrder::Descend => order.reverse(),
            SortOrder::Ascend | SortOrder::None => order,
        }
    });
    if let Ok(limit @ 1..) = usize::try_from(request.limit)
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        response.more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    response.kvs = kvs;
    response
}

impl Draft<'_> {
    fn revision(&self) -> Revision {
        self.model.revision + Revision::from(!self.events.is_empty())
    }

    fn live(&self, range: &KeyRange) -> Vec<KeyValue> {
        let before = self.model.live(range, self.model.revision);
        let mut live: BTreeMap<Bytes, KeyValue> =
            before.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        for (key, kv) in self.written.iter().filter(|(key, _)| range.contains(key)) {
            match kv {
                Some(kv) => drop(live.insert(key.clone(), kv.clone())),
                None => drop(live.remove(key)),
            }
        }
        live.into_values().collect()
    }

    /// Conditions look at what was there before the whole transaction.
    fn holds(&self, compare: &Compare) -> bool {
        let live = self.model.live(&compare.range, self.model.revision);
        if live.is_empty() {
            return !matches!(compare.target, CompareTarget::Value(_))
                && relation_holds(compare, &KeyValue::default());
        }
        live.iter().all(|kv| relation_holds(compare, kv))
    }

    fn run(&mut self, txn: &TxnRequest) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let responses = ops.iter().map(|op| match op {
            Op::Range(range) => OpResponse::Range(self.range(range)),
            Op::Put(put) => OpResponse::Put(self.put(put)),
            Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete_range(delete)),
            Op::Txn(txn) => OpResponse::Txn(self.run(txn)),
        });
        TxnResponse {
            header: Header::default(),
            succeeded,
            responses: responses.collect(),
        }
    }

    fn range(&self, request: &RangeRequest) -> RangeResponse {
        let kvs = if request.revision > 0 {
            self.model.live(&request.range, request.revision)
        } else {
            self.live(&request.range)
        };
        let mut response = select(request, kvs);
        response.header.revision = self.revision();
        response
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let revision = self.model.revision + 1;
        let previous = self.live(&KeyRange::one(put.key.clone())).pop();
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
        self.written.insert(put.key.clone(), Some(kv.clone()));
        self.events.push(Event {
            kind: EventKind::Put,
            kv,
            prev_kv: previous.clone(),
        });
        PutResponse {
            prev_kv: previous.filter(|_| put.prev_kv),
        }
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed = self.live(&delete.range);
        for kv in &doomed {
            self.written.insert(kv.key.clone(), None);
            self.events
                .push(deletion(self.model.revision + 1, kv.clone()));
        }
        DeleteRangeResponse {
            deleted: i64::try_from(doomed.len()).unwrap_or(i64::MAX),
            prev_kvs: if delete.prev_kv { doomed } else { Vec::new() },
        }
    }
}

fn relation_holds(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(want) => kv.version.cmp(want),
        CompareTarget::CreateRevision(want) => kv.create_revision.cmp(want),
        CompareTarget::ModRevision(want) => kv.mod_revision.cmp(want),
        CompareTarget::Lease(want) => kv.lease.cmp(want),
        CompareTarget::Value(want) => kv.value.cmp(want),
    };
    match compare.op {
        CompareOp::Equal => order == Ordering::Equal,
        CompareOp::NotEqual => order != Ordering::Equal,
        CompareOp::Greater => order == Ordering::Greater,
        CompareOp::Less => order == Ordering::Less,
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

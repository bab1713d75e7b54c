//! Histories that keep every promise, and the same with one of them broken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kontiki_checker::{
    Answer, Clocks, HashSample, History, Model, Moment, Operation, Property, Request, Response,
    Violation, WatchRecord, check,
};
use kontiki_store::{
    Compare, DeleteRangeRequest, EventBatch, Header, KeyRange, LeaseGrant, Op, PutRequest,
    RangeRequest, StoreError, TxnRequest, WatchItem, WatchRequest,
};
use std::sync::Arc;
use std::time::Duration;

/// One client after the other on a store that does as it should.
struct Script {
    model: Model,
    history: History,
    order: u64,
    lease: i64,
}

impl Script {
    fn moment(&mut self) -> Moment {
        self.order += 1;
        Moment {
            order: self.order,
            time: Duration::from_millis(self.order * 100),
        }
    }

    fn call(&mut self, request: Request, response: Response) {
        let (called, at) = (self.moment(), self.moment());
        self.history.operations.push(Operation {
            member: 0,
            called,
            request,
            answer: Some(Answer {
                at,
                result: Ok(response),
            }),
        });
    }

    fn txn(&mut self, txn: TxnRequest) {
        let (response, events) = self.model.txn(&txn);
        if !events.is_empty() {
            self.model.commit(events);
        }
        self.call(Request::Txn(txn), Response::Txn(response));
    }

    fn put(&mut self, key: &str, value: &str, lease: i64) {
        self.txn(put(key, value, lease));
    }

    fn read(&mut self, key: &str) {
        let request = RangeRequest {
            range: KeyRange::prefix(key.to_owned()),
            ..RangeRequest::default()
        };
        let response = self.model.range(&request, self.model.revision());
        self.call(Request::Range(request), Response::Range(response));
    }

    fn expire(&mut self) {
        self.order += 100;
        let events = self.model.revoke(self.lease);
        self.model.commit(events);
    }
}

fn put(key: &str, value: &str, lease: i64) -> TxnRequest {
    let put = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease,
        prev_kv: true,
        ..PutRequest::default()
    };
    TxnRequest {
        success: vec![Op::Put(put)],
        ..TxnRequest::default()
    }
}

/// Puts, conditions, a deletion, a lease that ends, reads, and a watch of all.
fn good() -> History {
    let mut script = Script {
        model: Model::default(),
        history: History::default(),
        order: 0,
        lease: 9,
    };
    script.put("a", "1", 0);
    script.read("a");
    let grant = LeaseGrant {
        header: Header {
            revision: 2,
            raft_term: 1,
        },
        id: 9,
        ttl_seconds: 3,
    };
    script.call(
        Request::Grant {
            id: 9,
            ttl_seconds: 3,
        },
        Response::Lease(grant),
    );
    script.put("b", "2", 9);
    script.put("a", "3", 0);
    script.txn(TxnRequest {
        compare: vec![Compare::mod_revision("a", 2)],
        ..put("a", "never", 0)
    });
    script.txn(TxnRequest {
        success: vec![Op::DeleteRange(DeleteRangeRequest {
            range: KeyRange::one("a"),
            prev_kv: true,
        })],
        ..TxnRequest::default()
    });
    script.read("a");
    let expired = script.model.revision() + 1;
    script.expire();
    script.put("c", "4", 0);
    script.read("");
    let all = KeyRange {
        key: "\0".into(),
        end: "\0".into(),
    };
    let request = WatchRequest {
        range: all,
        start_revision: 2,
        prev_kv: true,
        buffer: 0,
    };
    let mut items = Vec::new();
    for (revision, events) in script.model.changes().clone() {
        let batch = EventBatch { revision, events };
        // The lease's end is seen when it happens, everything else afterwards.
        let mut moment = script.moment();
        if revision == expired {
            moment.time = Duration::from_secs(6);
        }
        items.push((moment, WatchItem::Events(Arc::new(batch))));
    }
    script.history.watches.push(WatchRecord {
        request,
        opened_at: Some(1),
        items,
        settled: true,
        ..WatchRecord::default()
    });
    for member in 0..2 {
        script.history.samples.push(HashSample {
            member,
            applied_index: 7,
            revision: 7,
            compact_revision: 0,
            keys: 1,
            state: 2,
        });
    }
    script.history
}

fn verdict(history: &History) -> Result<(), Violation> {
    let clocks = Clocks {
        drift: 0.0,
        error: Duration::ZERO,
    };
    check(history, clocks).map(drop)
}

/// The history is good, and not any more after the change.
#[track_caller]
fn breaks(property: Property, change: impl FnOnce(&mut History)) {
    let mut history = good();
    verdict(&history).unwrap();
    change(&mut history);
    let violation = verdict(&history).unwrap_err();
    assert_eq!(violation.property, property, "{violation}");
}

fn answer(history: &mut History, number: usize) -> &mut Response {
    let answer = history.operations[number].answer.as_mut().unwrap();
    answer.result.as_mut().unwrap()
}

fn events(history: &mut History, number: usize) -> &mut EventBatch {
    match &mut history.watches[0].items[number].1 {
        WatchItem::Events(batch) => Arc::make_mut(batch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_that_keeps_its_promises_is_believed() {
    let clocks = Clocks {
        drift: 0.0,
        error: Duration::ZERO,
    };
    let summary = check(&good(), clocks).unwrap();
    assert_eq!(
        (summary.revisions, summary.events, summary.expired),
        (6, 6, 1)
    );
}

#[test]
fn a_call_without_an_end_may_have_happened_or_not() {
    let mut history = good();
    history.operations[0].answer = None;
    verdict(&history).unwrap();
    let never = Operation {
        member: 1,
        called: Moment::default(),
        request: Request::Txn(put("z", "lost", 0)),
        answer: None,
    };
    history.operations.insert(0, never);
    verdict(&history).unwrap();
}

#[test]
fn a_stale_read_is_noticed() {
    breaks(Property::Linearizable, |history| {
        // The last read answers what the first did.
        let old = answer(history, 1).clone();
        let request = history.operations[1].request.clone();
        let last = history.operations.last_mut().unwrap();
        last.request = request;
        last.answer.as_mut().unwrap().result = Ok(old);
    });
}

#[test]
fn a_lost_write_is_noticed() {
    breaks(Property::Linearizable, |history| {
        let Response::Range(read) = answer(history, 1) else {
            panic!("the second call reads")
        };
        read.kvs.clear();
        read.count = 0;
    });
}

#[test]
fn a_refused_write_that_happened_is_noticed() {
    breaks(Property::Linearizable, |history| {
        let refused = history.operations[4].answer.as_mut().unwrap();
        refused.result = Err(StoreError::NoLeader);
    });
}

#[test]
fn a_write_that_happened_twice_is_noticed() {
    breaks(Property::Linearizable, |history| {
        let mut again = events(history, 5).clone();
        again.revision += 1;
        let previous = again.events[0].kv.clone();
        again.events[0].kv.mod_revision += 1;
        again.events[0].kv.version += 1;
        again.events[0].prev_kv = Some(previous);
        let moment = history.watches[0].items[5].0;
        let item = WatchItem::Events(Arc::new(again));
        history.watches[0].items.push((moment, item));
    });
}

#[test]
fn two_writes_at_one_revision_are_noticed() {
    breaks(Property::DenseRevisions, |history| {
        let first = answer(history, 0).clone();
        *answer(history, 4) = first;
    });
}

#[test]
fn a_revision_at_which_nothing_happened_is_noticed() {
    breaks(Property::DenseRevisions, |history| {
        history.operations[3].answer = None;
        history.watches[0].items.remove(1);
    });
}

#[test]
fn an_event_that_never_comes_is_noticed() {
    breaks(Property::Watch, |history| {
        drop(history.watches[0].items.remove(2))
    });
    breaks(Property::Watch, |history| {
        drop(history.watches[0].items.pop())
    });
}

#[test]
fn events_that_come_twice_or_in_another_order_are_noticed() {
    breaks(Property::Watch, |history| {
        let again = history.watches[0].items[2].clone();
        history.watches[0].items.insert(3, again);
    });
    breaks(Property::Watch, |history| {
        history.watches[0].items.swap(1, 2)
    });
}

#[test]
fn a_bookmark_that_runs_ahead_is_noticed() {
    breaks(Property::Watch, |history| {
        let moment = history.watches[0].items[1].0;
        let bookmark = (moment, WatchItem::Progress(4));
        history.watches[0].items.insert(1, bookmark);
    });
}

#[test]
fn a_compaction_that_nobody_asked_for_is_noticed() {
    breaks(Property::Watch, |history| {
        let mut cut = history.watches[0].clone();
        cut.items.truncate(1);
        let moment = cut.items[0].0;
        let end = WatchItem::Compacted {
            compact_revision: 5,
        };
        cut.items.push((moment, end));
        history.watches.push(cut);
    });
}

#[test]
fn a_wrong_previous_value_is_noticed() {
    breaks(Property::Watch, |history| {
        events(history, 2).events[0].prev_kv = None;
    });
}

#[test]
fn a_lease_that_ends_too_early_is_noticed() {
    breaks(Property::Lease, |history| {
        history.watches[0].items[4].0.time = Duration::from_secs(2);
    });
}

#[test]
fn a_lease_that_was_ended_cannot_be_used() {
    breaks(Property::Lease, |history| {
        let Request::Txn(txn) = &mut history.operations[8].request else {
            panic!("the last write")
        };
        let Op::Put(put) = &mut txn.success[0] else {
            panic!("it puts")
        };
        put.lease = 9;
        events(history, 5).events[0].kv.lease = 9;
        let Response::Range(read) = answer(history, 9) else {
            panic!("the last read")
        };
        read.kvs[0].lease = 9;
    });
}

#[test]
fn replicas_that_differ_are_noticed() {
    breaks(Property::EqualHashes, |history| history.samples[1].keys = 9);
    breaks(Property::EqualHashes, |history| {
        history.samples[1].state = 9
    });
}

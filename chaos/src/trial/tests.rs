//! The tester is tested: histories with a fault in them have to fail.

use super::*;
use kontiki_checker::{Model, Response};
use kontiki_store::{
    Compare, EventBatch, Header, LeaseGrant, Op, OpResponse, PutRequest, RangeResponse, StoreError,
    TxnRequest, TxnResponse, WatchItem, WatchRequest,
};
use std::sync::Arc;

/// A store that one client uses at a time, and everything noted of it.
struct Store {
    model: Model,
    recorder: Recorder,
    watch: usize,
}

/// What the store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    LostWrite,
    RepeatedEvent,
    MissedEvent,
    StaleRead,
    RevisionTwice,
    LeaseTooShort,
    OtherHash,
}

impl Store {
    fn new() -> Self {
        let recorder = Recorder::new(Instant::now());
        let request = WatchRequest {
            range: KeyRange {
                key: "\0".into(),
                end: "\0".into(),
            },
            start_revision: 2,
            prev_kv: true,
            buffer: 0,
        };
        let watch = recorder.watching(0, request);
        recorder.opened(watch, 1);
        Self {
            model: Model::default(),
            recorder,
            watch,
        }
    }

    fn header(&self) -> Header {
        Header {
            revision: self.model.revision(),
            raft_term: 1,
        }
    }

    fn put(&mut self, key: &str, value: &str, lease: i64) -> usize {
        let txn = TxnRequest {
            compare: vec![Compare::mod_revision(
                key.to_owned(),
                self.mod_revision(key),
            )],
            success: vec![Op::Put(PutRequest {
                key: key.to_owned().into(),
                value: value.to_owned().into(),
                lease,
                ..PutRequest::default()
            })],
            failure: Vec::new(),
        };
        let number = self.recorder.called(0, Request::Txn(txn.clone()));
        let (response, events) = self.model.txn(&txn);
        self.model.commit(events);
        self.recorder.answered(number, Ok(Response::Txn(response)));
        self.show();
        number
    }

    fn show(&self) {
        let (revision, events) = self.model.changes().last_key_value().expect("a change");
        let batch = EventBatch {
            revision: *revision,
            events: events.clone(),
        };
        let item = WatchItem::Events(Arc::new(batch));
        self.recorder.delivered(self.watch, item, true);
    }

    fn mod_revision(&self, key: &str) -> Revision {
        let found = self
            .model
            .live(&KeyRange::one(key.to_owned()), self.model.revision());
        found.first().map_or(0, |kv| kv.mod_revision)
    }

    fn get(&mut self, key: &str) -> usize {
        let request = RangeRequest {
            range: KeyRange::one(key.to_owned()),
            ..RangeRequest::default()
        };
        let number = self.recorder.called(1, Request::Range(request.clone()));
        let mut response = self.model.range(&request, self.model.revision());
        response.header = self.header();
        self.recorder
            .answered(number, Ok(Response::Range(response)));
        number
    }

    fn grant(&mut self, id: i64, ttl_seconds: i64) {
        let number = self.recorder.called(0, Request::Grant { id, ttl_seconds });
        let grant = LeaseGrant {
            header: self.header(),
            id,
            ttl_seconds,
        };
        self.recorder.answered(number, Ok(Response::Lease(grant)));
    }

    fn sample(&self, member: usize, keys: u32) {
        self.recorder.sampled(HashSample {
            member,
            applied_index: 9,
            revision: self.model.revision(),
            compact_revision: 0,
            keys,
            state: 0,
        });
    }
}

/// A run as it would be seen of a store that is right, but for one bug.
fn history(bug: Option<Bug>) -> History {
    let mut store = Store::new();
    store.put("a", "one", 0);
    store.get("a");
    store.grant(7, 3_600);
    store.put("leased", "x", 7);
    if bug == Some(Bug::LeaseTooShort) {
        let events = store.model.revoke(7);
        store.model.commit(events);
        store.show();
    }
    // Nobody heard of this one again, but it happened.
    let unheard = store.put("a", "two", 0);
    store.put("b", "three", 0);
    store.get("a");
    store.sample(0, 5);
    store.sample(1, if bug == Some(Bug::OtherHash) { 6 } else { 5 });
    let (watch, recorder) = (store.watch, store.recorder.clone());
    if bug == Some(Bug::RepeatedEvent) {
        store.show();
    }
    recorder.settled(watch);
    let last = store.get("b");
    let mut history = recorder.take();
    history.operations[unheard].answer = None;
    match bug {
        Some(Bug::MissedEvent) => drop(history.watches[watch].items.pop()),
        Some(Bug::RevisionTwice) => {
            let again = history.operations[0].clone();
            history.operations.push(again);
        }
        // The write of b was acknowledged; the last read knows nothing of it.
        Some(Bug::LostWrite) => doctor(&mut history.operations[last], |range| {
            range.kvs.clear();
            range.count = 0;
        }),
        Some(Bug::StaleRead) => {
            let old = history.operations[1]
                .answer
                .clone()
                .expect("it was answered");
            let operation = history.operations.iter_mut().rfind(|operation| {
                matches!(&operation.request, Request::Range(range) if range.range.contains(b"a"))
            });
            let operation = operation.expect("a was read twice");
            let answer = operation.answer.as_mut().expect("it was answered");
            answer.result = old.result;
        }
        _ => {}
    }
    history
}

fn doctor(operation: &mut kontiki_checker::Operation, change: impl FnOnce(&mut RangeResponse)) {
    let answer = operation.answer.as_mut().expect("it was answered");
    if let Ok(Response::Range(range)) = &mut answer.result {
        change(range);
    }
}

fn judged(history: History, ending: Ending) -> Outcome {
    let plan = Plan {
        scenario: scenario::find("kill-leader").expect("it is one"),
        seed: 3,
        length: Duration::from_secs(1),
        binary: "kontiki".into(),
        cluster: "none".into(),
        keep: "none".into(),
    };
    let mark = Mark {
        from_ms: 100.0,
        until_ms: 400.0,
        what: "kill -9 <the leader>".into(),
        hit: vec!["s1".into()],
        notes: Vec::new(),
    };
    let reign = Reign {
        member: 0,
        term: 1,
        from_ms: 0.0,
        until_ms: 100.0,
    };
    let seen = Seen {
        history,
        ending,
        marks: vec![mark],
        reigns: vec![reign],
        throughput: 500.0,
        ended: Ended::Judged,
        lasted_ms: 1_000.0,
    };
    outcome(&plan, vec!["s1".into(), "s2".into()], seen)
}

#[test]
fn a_history_without_a_fault_passes() {
    let outcome = judged(history(None), Ending::default());
    assert!(outcome.passed(), "{:?}", outcome.broken());
    assert!(page::html(&outcome).contains("kill-leader: <span class=\"passed\">"));
    assert_eq!(page::json(&outcome)["verdict"], "passed");
}

#[test]
fn every_planted_fault_is_reported_by_page_and_line() {
    for (bug, check) in [
        (Bug::LostWrite, "linearizable"),
        (Bug::RepeatedEvent, "watches miss and repeat nothing"),
        (Bug::MissedEvent, "watches miss and repeat nothing"),
        (Bug::StaleRead, "linearizable"),
        (Bug::RevisionTwice, "revisions are dense"),
        (Bug::LeaseTooShort, "leases live as long as promised"),
        (Bug::OtherHash, "members hold the same"),
    ] {
        let outcome = judged(history(Some(bug)), Ending::default());
        let broken = outcome.broken().unwrap_or_else(|| panic!("{bug:?} passes"));
        assert_eq!(broken.name, check, "{bug:?}: {}", broken.detail);
        assert!(page::html(&outcome).contains("kill-leader: <span class=\"failed\">"));
        let line = page::json(&outcome);
        assert_eq!(
            (&line["verdict"], &line["broken"]["check"]),
            (&"failed".into(), &check.into())
        );
    }
}

#[test]
fn a_cluster_that_does_not_recover_or_panics_fails() {
    let ending = Ending {
        broke: Some("s1 ended by itself".into()),
        ..Ending::default()
    };
    let outcome = judged(history(None), ending);
    assert_eq!(
        outcome.broken().map(|check| check.name),
        Some("the cluster recovers")
    );
    let said = "INFO fine\nthread 'main' panicked at src/a.rs:1:2:\nboom";
    let ending = Ending {
        panics: verdict::panics("s2", said),
        ..Ending::default()
    };
    let outcome = judged(history(None), ending);
    let broken = outcome.broken().expect("it fails");
    assert_eq!(broken.name, "no member panics");
    assert!(broken.detail.starts_with("s2: thread 'main' panicked at"));
}

#[test]
fn a_void_run_has_not_passed() {
    let mut outcome = judged(history(None), Ending::default());
    outcome.ended = Ended::Void;
    assert!(!outcome.passed());
    assert_eq!(page::json(&outcome)["verdict"], "void");
    assert!(page::html(&outcome).contains("this run says nothing"));
}

#[test]
fn a_page_shows_the_faults_and_nothing_from_elsewhere() {
    let html = page::html(&judged(history(None), Ending::default()));
    assert!(html.contains("class=\"fault\"") && html.contains("s1 leads in term 1"));
    assert!(html.contains("kill -9 &lt;the leader&gt;"));
    assert!(!html.contains("<script") && !html.contains("http"));
    assert_eq!(html.matches("<svg").count(), 1);
}

#[test]
fn reports_of_failed_runs_are_kept_and_the_index_names_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut reports = report::Reports::new(dir.path()).expect("a folder");
    let well = reports
        .add(&judged(history(None), Ending::default()))
        .expect("writes");
    let badly = judged(history(Some(Bug::StaleRead)), Ending::default());
    let badly = reports.add(&badly).expect("writes");
    assert!(well.ends_with("report-kill-leader.html"));
    assert!(badly.ends_with("report-kill-leader-3.html"));
    let index = std::fs::read_to_string(dir.path().join("index.html")).expect("reads");
    assert!(
        index.contains("report-kill-leader.html") && index.contains("report-kill-leader-3.html")
    );
}

#[test]
fn what_is_unknown_stays_unknown() {
    let recorder = Recorder::new(Instant::now());
    let number = recorder.called(0, Request::Compact(3));
    recorder.answered(number, Err(StoreError::Internal("connection reset".into())));
    recorder.called(0, Request::Txn(TxnRequest::default()));
    let answered = recorder.called(0, Request::Txn(TxnRequest::default()));
    let response = TxnResponse {
        responses: Vec::<OpResponse>::new(),
        ..TxnResponse::default()
    };
    recorder.answered(answered, Ok(Response::Txn(response)));
    assert_eq!(recorder.acknowledged(), 1);
    let unknown = recorder.take().operations;
    let unknown: Vec<bool> = unknown
        .iter()
        .map(kontiki_checker::Operation::is_unknown)
        .collect();
    assert_eq!(unknown, [true, true, false]);
}

#[test]
fn a_run_with_too_little_going_on_is_repeated_and_then_void() {
    for (needs, throughput, ended) in [
        (Needs::Nothing, FLOOR - 1.0, Ended::Void),
        (Needs::Nothing, FLOOR, Ended::Judged),
        (Needs::Servers, API_FLOOR - 1.0, Ended::Void),
        (Needs::Servers, API_FLOOR, Ended::Judged),
    ] {
        assert_eq!(counts(needs, throughput), ended, "{needs:?} {throughput}");
    }
    let judged = judged(history(None), Ending::default());
    for (busy_from, runs, ended) in [
        (1, 1, Ended::Judged),
        (3, 3, Ended::Judged),
        (9, 3, Ended::Void),
    ] {
        let mut ran = 0;
        let outcome = until_it_counts(3, || {
            ran += 1;
            let mut outcome = judged.clone();
            outcome.ended = if ran >= busy_from {
                Ended::Judged
            } else {
                Ended::Void
            };
            Ok(outcome)
        });
        assert_eq!((ran, outcome.expect("it runs").ended), (runs, ended));
    }
}

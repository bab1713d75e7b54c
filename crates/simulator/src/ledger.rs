//! What happened: the history for the checkers and the trace for people.

use kontiki_checker::{
    Answer, HashSample, History, Moment, Operation, Request, Response, WatchRecord,
};
use kontiki_store::{Revision, StoreError, WatchItem, WatchRequest};
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Inner {
    now: Duration,
    order: u64,
    history: History,
    trace: Vec<String>,
    panics: Vec<String>,
}

/// Shared by everybody who notes something.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Inner>>);

impl Ledger {
    pub(crate) fn set_now(&self, now: Duration) {
        self.0.lock().now = now;
    }

    /// Notes that the store compacts by itself.
    pub(crate) fn compacts_itself(&self) {
        self.0.lock().history.compacts_itself = true;
    }

    /// Notes a line of the trace.
    pub(crate) fn trace(&self, line: impl Into<String>) {
        self.0.lock().trace(line.into());
    }

    pub(crate) fn called(&self, member: usize, request: Request) -> usize {
        let mut inner = self.0.lock();
        let called = inner.moment();
        let number = inner.history.operations.len();
        inner.trace(format!("member {member}: call {number}: {request:?}"));
        inner.history.operations.push(Operation {
            member,
            called,
            request,
            answer: None,
        });
        number
    }

    pub(crate) fn answered(&self, number: usize, result: Result<Response, StoreError>) {
        let mut inner = self.0.lock();
        let at = inner.moment();
        let line = match &result {
            Ok(Response::Range(range)) => format!(
                "call {number}: {} keys at revision {}",
                range.count, range.header.revision
            ),
            Ok(Response::Txn(txn)) => {
                format!(
                    "call {number}: {} at revision {}",
                    txn.succeeded, txn.header.revision
                )
            }
            other => format!("call {number}: {other:?}"),
        };
        inner.trace(line);
        inner.history.operations[number].answer = Some(Answer { at, result });
    }

    /// The answer to a call, if there is one.
    pub(crate) fn answer(&self, number: usize) -> Option<Result<Response, StoreError>> {
        let inner = self.0.lock();
        let answer = inner.history.operations[number].answer.as_ref();
        answer.map(|answer| answer.result.clone())
    }

    pub(crate) fn watching(&self, member: usize, request: WatchRequest) -> usize {
        let mut inner = self.0.lock();
        let called = inner.moment();
        let number = inner.history.watches.len();
        inner.trace(format!("member {member}: watch {number}: {request:?}"));
        inner.history.watches.push(WatchRecord {
            member,
            request,
            called,
            ..WatchRecord::default()
        });
        number
    }

    pub(crate) fn watch_opened(&self, number: usize, at: Revision) {
        let mut inner = self.0.lock();
        inner.trace(format!("watch {number}: opened at {at}"));
        inner.history.watches[number].opened_at = Some(at);
    }

    pub(crate) fn delivered(&self, number: usize, item: WatchItem) {
        let mut inner = self.0.lock();
        let moment = inner.moment();
        let line = match &item {
            WatchItem::Events(batch) => format!("watch {number}: revision {}", batch.revision),
            other => format!("watch {number}: {other:?}"),
        };
        inner.trace(line);
        inner.history.watches[number].items.push((moment, item));
    }

    /// Where a watch has to go on, and whether it ended as compacted.
    pub(crate) fn resume_at(&self, number: usize) -> Revision {
        let inner = self.0.lock();
        inner.history.watches[number].next_revision()
    }

    pub(crate) fn settled(&self, number: usize) {
        self.0.lock().history.watches[number].settled = true;
    }

    pub(crate) fn sampled(&self, sample: HashSample) {
        let mut inner = self.0.lock();
        inner.trace(format!("{sample:?}"));
        inner.history.samples.push(sample);
    }

    pub(crate) fn panicked(&self, what: String) {
        self.0.lock().panics.push(what);
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        self.0.lock().panics.clone()
    }

    /// Takes out what was noted: the history and the trace.
    pub(crate) fn take(&self) -> (History, Vec<String>) {
        let mut inner = self.0.lock();
        (
            std::mem::take(&mut inner.history),
            std::mem::take(&mut inner.trace),
        )
    }
}

impl Inner {
    fn moment(&mut self) -> Moment {
        self.order += 1;
        Moment {
            order: self.order,
            time: self.now,
        }
    }

    fn trace(&mut self, line: String) {
        tracing::info!(target: "simulation", "{line}");
        let millis = self.now.as_millis();
        self.trace
            .push(format!("{:>4}.{:03} {line}", millis / 1000, millis % 1000));
    }
}

/// A number by which two traces can be compared.
pub(crate) fn digest(trace: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    trace.hash(&mut hasher);
    hasher.finish()
}

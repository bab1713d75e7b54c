//! Notes everything that clients do and see, in the order in which it happens.
//!
//! **Invariant:** a call is noted before it is sent and its answer after it was
//! read, so that the noted interval covers the real one.

use kontiki_checker::{
    Answer, HashSample, History, Moment, Operation, Request, Response, WatchRecord,
};
use kontiki_store::{Revision, StoreError, WatchItem, WatchRequest};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Shared by everybody who notes something.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Notes>>);

struct Notes {
    moments: Moments,
    history: History,
    /// The first revision that no watch of everything has shown yet.
    shown_before: Revision,
    /// Calls that were answered with success.
    acknowledged: usize,
}

/// Numbers what is noted, in the order in which it is noted.
pub(crate) struct Moments {
    started: Instant,
    order: u64,
}

impl Moments {
    pub(crate) fn new(started: Instant) -> Self {
        Self { started, order: 0 }
    }

    pub(crate) fn next(&mut self) -> Moment {
        self.order += 1;
        Moment {
            order: self.order,
            time: self.started.elapsed(),
        }
    }
}

impl Recorder {
    pub(crate) fn new(started: Instant) -> Self {
        Self(Arc::new(Mutex::new(Notes {
            moments: Moments::new(started),
            history: History::default(),
            shown_before: 2,
            acknowledged: 0,
        })))
    }

    pub(crate) fn called(&self, member: usize, request: Request) -> usize {
        let mut notes = self.0.lock();
        let called = notes.moments.next();
        notes.history.operations.push(Operation {
            member,
            called,
            request,
            answer: None,
        });
        notes.history.operations.len() - 1
    }

    pub(crate) fn answered(&self, number: usize, result: Result<Response, StoreError>) {
        let mut notes = self.0.lock();
        let at = notes.moments.next();
        notes.acknowledged += usize::from(result.is_ok());
        notes.history.operations[number].answer = Some(Answer { at, result });
    }

    pub(crate) fn watching(&self, member: usize, request: WatchRequest) -> usize {
        let mut notes = self.0.lock();
        let called = notes.moments.next();
        notes.history.watches.push(WatchRecord {
            member,
            request,
            called,
            ..WatchRecord::default()
        });
        notes.history.watches.len() - 1
    }

    pub(crate) fn opened(&self, number: usize, at: Revision) {
        self.0.lock().history.watches[number].opened_at = Some(at);
    }

    /// Notes an item; `everything`: the watch misses nothing that happens.
    pub(crate) fn delivered(&self, number: usize, item: WatchItem, everything: bool) {
        let mut notes = self.0.lock();
        let moment = notes.moments.next();
        if everything && !matches!(item, WatchItem::Compacted { .. }) {
            let shown = match &item {
                WatchItem::Events(batch) => batch.revision,
                WatchItem::Progress(revision) => *revision,
                WatchItem::Compacted { .. } => 0,
            };
            notes.shown_before = notes.shown_before.max(shown + 1);
        }
        notes.history.watches[number].items.push((moment, item));
    }

    /// The first revision that a watch has yet to deliver.
    pub(crate) fn next_revision(&self, number: usize) -> Revision {
        self.0.lock().history.watches[number].next_revision()
    }

    /// The first revision that no watch of everything has shown yet. What lies
    /// before may be compacted without making the history unreadable.
    pub(crate) fn shown_before(&self) -> Revision {
        self.0.lock().shown_before
    }

    pub(crate) fn settled(&self, number: usize) {
        self.0.lock().history.watches[number].settled = true;
    }

    pub(crate) fn sampled(&self, sample: HashSample) {
        self.0.lock().history.samples.push(sample);
    }

    /// How many calls have been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.0.lock().acknowledged
    }

    /// Takes out what was noted.
    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut self.0.lock().history)
    }
}

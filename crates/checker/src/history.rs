//! What clients did and saw.

use kontiki_store::{
    Header, LeaseGrant, LeaseId, RangeRequest, RangeResponse, Revision, StoreError, TxnRequest,
    TxnResponse, WatchItem, WatchRequest,
};
use std::time::Duration;

/// When something happened: a place in the order in which everything was noted,
/// and a time that all share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Smaller: certainly not later.
    pub order: u64,
    /// True time.
    pub time: Duration,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the store's interface")]
pub enum Request {
    Range(RangeRequest),
    Txn(TxnRequest),
    Compact(Revision),
    Grant { id: LeaseId, ttl_seconds: i64 },
    Revoke(LeaseId),
    KeepAlive(LeaseId),
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the store's interface")]
pub enum Response {
    Range(RangeResponse),
    Txn(TxnResponse),
    Header(Header),
    Lease(LeaseGrant),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When.
    pub at: Moment,
    /// With what.
    pub result: Result<Response, StoreError>,
}

/// A call from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who was asked; for the reader of a report.
    pub member: usize,
    /// When it began.
    pub called: Moment,
    /// What was asked.
    pub request: Request,
    /// `None`: nobody heard of it again.
    pub answer: Option<Answer>,
}

impl Operation {
    /// The answer, if it was one.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.answer.as_ref()?.result.as_ref().ok()
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&StoreError> {
        let error = self.answer.as_ref()?.result.as_ref().err();
        error.filter(|error| error.is_definite())
    }

    /// Whether it may have happened or not.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.response().is_none() && self.refusal().is_none()
    }

    /// The revision that a linearizable call was answered at. Serializable
    /// reads and keep-alives answer where their replica happens to stand.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match (&self.request, self.response()?) {
            (Request::Range(request), _) if request.serializable => None,
            (Request::KeepAlive(_), _) => None,
            (_, Response::Range(response)) => Some(response.header.revision),
            (_, Response::Txn(response)) => Some(response.header.revision),
            (_, Response::Header(header)) => Some(header.revision),
            (_, Response::Lease(grant)) => Some(grant.header.revision),
        }
    }
}

/// A watch and everything it delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRecord {
    /// Who was asked.
    pub member: usize,
    /// What was asked for.
    pub request: WatchRequest,
    /// When it was asked for.
    pub called: Moment,
    /// The store's revision when it was opened; `None` if it never was.
    pub opened_at: Option<Revision>,
    /// What came.
    pub items: Vec<(Moment, WatchItem)>,
    /// Whether it was still open, and had time to deliver everything, at the end.
    pub settled: bool,
}

impl WatchRecord {
    /// The first revision that has not come yet: where the next watch goes on.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        let start = match (self.request.start_revision, self.opened_at) {
            (0, Some(opened_at)) => opened_at + 1,
            (start, _) => start,
        };
        let items = self.items.iter().map(|(_, item)| match item {
            WatchItem::Events(batch) => batch.revision + 1,
            WatchItem::Progress(revision) => revision + 1,
            WatchItem::Compacted { compact_revision } => *compact_revision,
        });
        items.fold(start, Revision::max)
    }
}

/// Hashes of one replica at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSample {
    /// Whose.
    pub member: usize,
    /// The last applied log entry.
    pub applied_index: u64,
    /// The revision of `keys`.
    pub revision: Revision,
    /// The compacted revision of `keys`.
    pub compact_revision: Revision,
    /// Over the versions of all keys.
    pub keys: u32,
    /// Over everything that is replicated.
    pub state: u32,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In the order in which they were called.
    pub operations: Vec<Operation>,
    /// Watches.
    pub watches: Vec<WatchRecord>,
    /// Hashes.
    pub samples: Vec<HashSample>,
    /// Whether the store was told to forget old revisions by itself.
    pub compacts_itself: bool,
}

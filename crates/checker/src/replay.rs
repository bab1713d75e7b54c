//! Replays what was answered in the order of the revisions.

use crate::compactions::Compactions;
use crate::history::{History, Moment, Operation, Request, Response};
use crate::model::{Model, everything};
use crate::{Property, Violation};
use kontiki_store::{
    Event, EventKind, Header, LeaseId, Op, OpResponse, Revision, StoreError, TxnRequest,
    TxnResponse, WatchItem,
};
use std::collections::BTreeMap;

/// How a lease came to its end, as far as it showed in the keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// When its keys went.
    pub revision: Revision,
    /// Whether a client had asked for it.
    pub by_client: bool,
}

/// A history in order.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// After everything.
    pub model: Model,
    /// The revision at which a call wrote, by its number in the history.
    pub wrote: BTreeMap<usize, Revision>,
    /// The leases that ended, those of them that had keys.
    pub ended: BTreeMap<LeaseId, Ended>,
    /// When a revision was first seen by a watch.
    pub seen: BTreeMap<Revision, Moment>,
}

struct Replay<'h> {
    history: &'h History,
    done: Replayed,
    /// Answered calls by their revision: the one that wrote, and the others.
    writers: BTreeMap<Revision, usize>,
    others: BTreeMap<Revision, Vec<usize>>,
    /// Calls that may have happened.
    unknown: Vec<usize>,
    /// What watches of everything showed.
    shown: BTreeMap<Revision, &'h [Event]>,
}

/// Finds the order; every answer must be the model's.
pub(crate) fn replay(history: &History) -> Result<Replayed, Violation> {
    let mut replay = Replay {
        history,
        done: Replayed {
            model: Model::default(),
            wrote: BTreeMap::new(),
            ended: BTreeMap::new(),
            seen: BTreeMap::new(),
        },
        writers: BTreeMap::new(),
        others: BTreeMap::new(),
        unknown: Vec::new(),
        shown: BTreeMap::new(),
    };
    replay.sort()?;
    replay.answers()?;
    let last = [
        replay.writers.keys().next_back(),
        replay.others.keys().next_back(),
        replay.done.seen.keys().next_back(),
    ];
    let last = last.into_iter().flatten().max().copied().unwrap_or(1);
    while replay.done.model.revision() < last {
        replay.next()?;
        replay.answers()?;
    }
    Ok(replay.done)
}

impl<'h> Replay<'h> {
    fn sort(&mut self) -> Result<(), Violation> {
        for (number, operation) in self.history.operations.iter().enumerate() {
            if operation.is_unknown() {
                self.unknown.push(number);
                continue;
            }
            let Some(revision) = answered_at(operation) else {
                continue;
            };
            if !wrote(operation) {
                self.others.entry(revision).or_default().push(number);
            } else if let Some(first) = self.writers.insert(revision, number) {
                let first = &self.history.operations[first];
                return Err(Violation::new(
                    Property::DenseRevisions,
                    format!("two writes took revision {revision}: {first:?} and {operation:?}"),
                ));
            }
        }
        for watch in &self.history.watches {
            for (moment, item) in &watch.items {
                let WatchItem::Events(batch) = item else {
                    continue;
                };
                let seen = self.done.seen.entry(batch.revision).or_insert(*moment);
                *seen = (*seen).min(*moment);
                if watch.request.range == everything() {
                    self.shown.entry(batch.revision).or_insert(&batch.events);
                }
            }
        }
        Ok(())
    }

    /// Lets the next revision happen.
    fn next(&mut self) -> Result<(), Violation> {
        let revision = self.done.model.revision() + 1;
        if let Some(number) = self.writers.get(&revision).copied() {
            return self.known(number, revision);
        }
        if let Some((number, events)) = self.revocation(revision) {
            self.revoked(number, revision);
            self.done.model.commit(events);
            return Ok(());
        }
        let Some(events) = self.shown.get(&revision).copied() else {
            return Err(Violation::new(
                Property::DenseRevisions,
                format!("nothing happened at revision {revision}, but something did after it"),
            ));
        };
        let events = self.explain(revision, events)?;
        self.done.model.commit(events);
        Ok(())
    }

    fn known(&mut self, number: usize, revision: Revision) -> Result<(), Violation> {
        let operation = &self.history.operations[number];
        let (Request::Txn(request), Some(Response::Txn(response))) =
            (&operation.request, operation.response())
        else {
            unreachable!("only transactions are known to write");
        };
        let (due, events) = self.done.model.txn(request);
        let (due, found) = (plain(due), plain(response.clone()));
        if due != found || events.is_empty() {
            return Err(wrong(operation, &format!("{due:?}")));
        }
        self.done.wrote.insert(number, revision);
        self.done.model.commit(events);
        Ok(())
    }

    /// A revocation that was answered at this revision and took keys with it.
    fn revocation(&self, revision: Revision) -> Option<(usize, Vec<Event>)> {
        let answered = self.others.get(&revision)?.iter();
        answered
            .filter_map(|number| match self.history.operations[*number].request {
                Request::Revoke(id) => Some((*number, self.done.model.revoke(id))),
                _ => None,
            })
            .find(|(_, events)| !events.is_empty())
    }

    fn revoked(&mut self, number: usize, revision: Revision) {
        if let Request::Revoke(id) = self.history.operations[number].request {
            self.done.wrote.insert(number, revision);
            let ended = Ended {
                revision,
                by_client: true,
            };
            self.done.ended.insert(id, ended);
        }
    }

    /// Finds what made the events: a call whose end nobody heard, or a lease's end.
    fn explain(&mut self, revision: Revision, shown: &[Event]) -> Result<Vec<Event>, Violation> {
        let seen = self.done.seen[&revision];
        for at in 0..self.unknown.len() {
            let number = self.unknown[at];
            let operation = &self.history.operations[number];
            if operation.called.order > seen.order {
                continue;
            }
            let events = match &operation.request {
                Request::Txn(request) => self.done.model.txn(request).1,
                Request::Revoke(id) => self.done.model.revoke(*id),
                _ => continue,
            };
            if same(&events, shown) {
                self.unknown.remove(at);
                self.done.wrote.insert(number, revision);
                self.revoked(number, revision);
                return Ok(events);
            }
        }
        let first = shown.first().map(|event| &event.kv.key);
        let previous = first.and_then(|key| {
            let range = kontiki_store::KeyRange::one(key.clone());
            self.done.model.live(&range, revision - 1).pop()
        });
        if let Some(lease) = previous.map(|kv| kv.lease).filter(|lease| *lease != 0) {
            let events = self.done.model.revoke(lease);
            if same(&events, shown) {
                let ended = Ended {
                    revision,
                    by_client: false,
                };
                self.done.ended.insert(lease, ended);
                return Ok(events);
            }
        }
        Err(self.unexplained(revision, shown))
    }

    /// The most telling description of events that nothing explains.
    fn unexplained(&self, revision: Revision, shown: &[Event]) -> Violation {
        let put = shown.iter().find(|event| event.kind == EventKind::Put);
        let value = put.map(|event| &event.kv.value);
        let writer = self
            .history
            .operations
            .iter()
            .enumerate()
            .find(|(_, operation)| {
                let Request::Txn(txn) = &operation.request else {
                    return false;
                };
                value.is_some_and(|value| writes(txn, value))
            });
        let what = match writer {
            Some((number, operation)) => match self.done.wrote.get(&number) {
                Some(before) => format!("was applied at revision {before} already: {operation:?}"),
                None => format!("did not answer so: {operation:?}"),
            },
            None => "is nobody's call and no lease's end".to_owned(),
        };
        Violation::new(
            Property::Linearizable,
            format!("what happened at revision {revision} {what}; watches saw {shown:?}"),
        )
    }

    /// Checks the answers that were given at the present revision.
    fn answers(&mut self) -> Result<(), Violation> {
        let revision = self.done.model.revision();
        let Some(numbers) = self.others.get(&revision) else {
            return Ok(());
        };
        for number in numbers {
            let operation = &self.history.operations[*number];
            match (&operation.request, operation.response()) {
                (Request::Range(request), Some(Response::Range(response))) => {
                    let due = self.done.model.range(request, revision);
                    let mut found = response.clone();
                    found.header = due.header;
                    if due != found {
                        return Err(wrong(operation, &format!("{due:?}")));
                    }
                }
                (Request::Txn(request), Some(Response::Txn(response))) => {
                    let (due, events) = self.done.model.txn(request);
                    let (due, found) = (plain(due), plain(response.clone()));
                    if due != found || !events.is_empty() {
                        return Err(wrong(operation, &format!("{due:?}")));
                    }
                }
                (Request::Revoke(id), Some(_)) => {
                    let left = self.done.model.revoke(*id);
                    if !left.is_empty() {
                        let left = format!("its keys to be gone, but there are {left:?}");
                        return Err(wrong(operation, &left));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn wrong(operation: &Operation, due: &str) -> Violation {
    Violation::new(
        Property::Linearizable,
        format!("wrong answer: {operation:?}; due was {due}"),
    )
}

/// The revision at which an answer shows the content.
fn answered_at(operation: &Operation) -> Option<Revision> {
    match operation.response()? {
        Response::Range(response) => Some(response.header.revision),
        _ => operation.revision(),
    }
}

/// Whether the answer says that something was written.
fn wrote(operation: &Operation) -> bool {
    fn txn_wrote(request: &TxnRequest, response: &TxnResponse) -> bool {
        let ops = if response.succeeded {
            &request.success
        } else {
            &request.failure
        };
        ops.iter().zip(&response.responses).any(|both| match both {
            (Op::Put(_), _) => true,
            (_, OpResponse::DeleteRange(response)) => response.deleted > 0,
            (Op::Txn(request), OpResponse::Txn(response)) => txn_wrote(request, response),
            _ => false,
        })
    }
    match (&operation.request, operation.response()) {
        (Request::Txn(request), Some(Response::Txn(response))) => txn_wrote(request, response),
        _ => false,
    }
}

fn writes(txn: &TxnRequest, value: &bytes::Bytes) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(put) => put.value == value,
        Op::Txn(txn) => writes(txn, value),
        _ => false,
    })
}

/// Without what only the server knows: the term, and where in the middle of a
/// transaction a range stood.
fn plain(mut response: TxnResponse) -> TxnResponse {
    response.header.raft_term = 0;
    for response in &mut response.responses {
        match response {
            OpResponse::Range(range) => range.header = Header::default(),
            OpResponse::Txn(txn) => *txn = plain(std::mem::take(txn)),
            OpResponse::Put(_) | OpResponse::DeleteRange(_) => {}
        }
    }
    response
}

/// Whether two descriptions of a revision agree; what was there before may have
/// been forgotten.
pub(crate) fn same(a: &[Event], b: &[Event]) -> bool {
    let bare = |event: &Event| (event.kind, event.kv.clone());
    !a.is_empty() && a.len() == b.len() && a.iter().map(bare).eq(b.iter().map(bare))
}

/// Refusals that cannot be true.
pub(crate) fn check_refusals(history: &History) -> Result<(), Violation> {
    let compactions = Compactions::new(history);
    for operation in &history.operations {
        let Some(error) = operation.refusal() else {
            continue;
        };
        let Request::Range(request) = &operation.request else {
            continue;
        };
        let ended = operation
            .answer
            .as_ref()
            .map_or(operation.called, |answer| answer.at);
        let justified = match error {
            StoreError::Compacted { .. } => compactions.before(ended.order) > request.revision,
            StoreError::FutureRevision => {
                request.serializable
                    || !history.operations.iter().any(|other| {
                        let answered = other.answer.as_ref().map(|answer| answer.at.order);
                        answered.is_some_and(|order| order < operation.called.order)
                            && other.revision() >= Some(request.revision)
                    })
            }
            _ => true,
        };
        if !justified {
            return Err(wrong(operation, "an answer"));
        }
    }
    Ok(())
}

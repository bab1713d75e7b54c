//! What a store promised, held against what its clients saw.
//!
//! A [`History`] goes in: calls with their beginning and end, watches with
//! everything they delivered, hashes of replicas. A verdict comes out. Nothing
//! here knows how a store works, and nothing of a store's code is used beyond
//! the types of its interface, so that a mistake there is not repeated here.
//!
//! Every write that changes something takes the next revision, and every answer
//! carries the revision at which it was given. So the order that a linearizable
//! store must be able to show need not be searched for: it is the order of the
//! revisions. What is checked is that this order keeps to real time, that every
//! answer is the one a plain sequential model gives at that place, and that
//! every revision is explained by exactly one call, or by the end of a lease.
//!
//! **Invariants**
//! - Pure: no clock, no randomness, no input or output.
//! - What a client never heard the end of may have happened once or never.

mod compactions;
mod hashes;
mod history;
mod leases;
mod model;
mod replay;
mod time_order;
mod watches;

pub use history::{Answer, HashSample, History, Moment, Operation, Request, Response, WatchRecord};
pub use model::Model;

use std::time::Duration;
use thiserror::Error;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Every answer fits one order of all calls, which keeps to real time.
    Linearizable,
    /// Revisions grow by one with every write and are never used twice.
    DenseRevisions,
    /// A watch delivers what happened: in order, once, whole, all of it.
    Watch,
    /// A lease lives as long as it was promised to.
    Lease,
    /// Replicas at the same place hold the same.
    EqualHashes,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{property:?}: {what}")]
pub struct Violation {
    /// Which promise.
    pub property: Property,
    /// What was seen and what was due.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(property: Property, what: impl Into<String>) -> Self {
        Self {
            property,
            what: what.into(),
        }
    }
}

/// What a history without a violation holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls that were answered.
    pub answered: usize,
    /// Calls of which nobody knows whether they happened.
    pub unknown: usize,
    /// Revisions that were written.
    pub revisions: usize,
    /// Events that watches delivered.
    pub events: usize,
    /// Leases that ended by themselves, as far as it showed.
    pub expired: usize,
    /// Hashes that were compared.
    pub hashes: usize,
}

/// How far the clocks of the history can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// A lease may end this part of its time too early, because the clock of
    /// whoever counts runs fast.
    pub drift: f64,
    /// How much later than it happened something may have been noted, or earlier.
    pub error: Duration,
}

/// Holds a history against every promise.
pub fn check(history: &History, clocks: Clocks) -> Result<Summary, Violation> {
    hashes::check(&history.samples)?;
    let replayed = replay::replay(history)?;
    time_order::check(history, &replayed)?;
    let events = watches::check(history, &replayed)?;
    let expired = leases::check(history, &replayed, clocks)?;
    let answered = history
        .operations
        .iter()
        .filter(|operation| !operation.is_unknown())
        .count();
    Ok(Summary {
        answered,
        unknown: history.operations.len() - answered,
        revisions: replayed.model.changes().len(),
        events,
        expired,
        hashes: history.samples.len(),
    })
}

//! Proposals of this process that wait for being applied here.

use crate::types::Origin;
use kontiki_mvcc::Outcome;
use kontiki_store::StoreError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// Where a proposal's outcomes go, one for each of its commands.
pub(crate) type Answer = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

/// The waiting proposals of one member's process.
pub(crate) struct Waiters {
    member: u64,
    boot: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Answer>>,
}

impl Waiters {
    pub(crate) fn new(member: u64, boot: u64) -> Self {
        Self {
            member,
            boot: AtomicU64::new(boot),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn origin(&self, sequence: u64) -> Origin {
        Origin {
            member: self.member,
            boot: self.boot.load(Ordering::Acquire),
            sequence,
        }
    }

    pub(crate) fn wait(
        &self,
        sequence: u64,
    ) -> oneshot::Receiver<Result<Vec<Outcome>, StoreError>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(sequence, sender);
        receiver
    }

    pub(crate) fn forget(&self, sequence: u64) {
        self.waiting.lock().remove(&sequence);
    }

    /// A proposal was applied here for the first time.
    pub(crate) fn applied(&self, origin: Origin, outcomes: Vec<Outcome>) {
        if origin == self.origin(origin.sequence)
            && let Some(answer) = self.waiting.lock().remove(&origin.sequence)
        {
            let _ = answer.send(Ok(outcomes));
        }
    }

    /// A proposal of ours was refused: a life numbered `current` came later
    /// than this one, which can only be because this disk's counter was lost.
    /// It had no effect; from here on this process counts as later still.
    pub(crate) fn outlived(&self, origin: Origin, current: u64) {
        if origin.member != self.member {
            return;
        }
        if origin == self.origin(origin.sequence)
            && let Some(answer) = self.waiting.lock().remove(&origin.sequence)
        {
            let _ = answer.send(Err(StoreError::TooManyRequests));
        }
        self.boot.fetch_max(current + 1, Ordering::AcqRel);
    }

    /// The state jumped: what waits may be in it, with outcomes nobody knows.
    pub(crate) fn jumped(&self) {
        for answer in std::mem::take(&mut *self.waiting.lock()).into_values() {
            let _ = answer.send(Err(StoreError::TimeoutLeaderFailure));
        }
    }
}

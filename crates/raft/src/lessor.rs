//! When leases end. Only the leader decides, by its own monotonic clock; a new
//! leader gives every lease its full time again, so none ends early.

use kontiki_mvcc::StateMachine;
use kontiki_store::LeaseId;
use kontiki_wal::Clock;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Leases that are ended in one go.
pub(crate) const EXPIRED_MAX: usize = 256;
/// How long until a revocation that did not get through is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    ttl: Duration,
    ends: Duration,
    /// Its end is being proposed; it cannot be kept alive any more.
    ending: bool,
}

/// The deadlines of a leader; pure, told the time by its caller.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    terms: HashMap<LeaseId, Term>,
    order: BTreeSet<(Duration, LeaseId)>,
}

impl Deadlines {
    pub(crate) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        self.remove(id);
        self.terms.insert(
            id,
            Term {
                ttl,
                ends: now + ttl,
                ending: false,
            },
        );
        self.order.insert((now + ttl, id));
    }

    pub(crate) fn remove(&mut self, id: LeaseId) {
        if let Some(term) = self.terms.remove(&id) {
            self.order.remove(&(term.ends, id));
        }
    }

    /// Extends a lease that has not ended; answers its time to live.
    pub(crate) fn renew(&mut self, id: LeaseId, now: Duration) -> Option<Duration> {
        let term = self.terms.get(&id).copied().filter(|term| !term.ending)?;
        self.grant(id, term.ttl, now);
        Some(term.ttl)
    }

    pub(crate) fn remaining(&self, id: LeaseId, now: Duration) -> Option<Duration> {
        let term = self.terms.get(&id)?;
        Some(if term.ending {
            Duration::ZERO
        } else {
            term.ends.saturating_sub(now)
        })
    }

    /// The leases that have ended, at most `max`. Until they are removed they
    /// come again after a while.
    pub(crate) fn expired(&mut self, now: Duration, max: usize) -> Vec<LeaseId> {
        let ended: Vec<(Duration, LeaseId)> = self
            .order
            .iter()
            .take_while(|(ends, _)| *ends <= now)
            .take(max)
            .copied()
            .collect();
        for (ends, id) in &ended {
            let term = self
                .terms
                .get_mut(id)
                .expect("both maps hold the same leases");
            term.ending = true;
            term.ends = now + RETRY_AFTER;
            let again = term.ends;
            self.order.remove(&(*ends, *id));
            self.order.insert((again, *id));
        }
        ended.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(ends, _)| *ends)
    }
}

/// The leader's leases, shared by apply, calls and the timer.
pub(crate) struct Lessor {
    clock: Arc<dyn Clock>,
    /// `None` while another member leads.
    deadlines: Mutex<Option<Deadlines>>,
    changed: Notify,
}

impl Lessor {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            deadlines: Mutex::new(None),
            changed: Notify::new(),
        }
    }

    /// This member leads from now on, and has applied everything of earlier leaders.
    pub(crate) fn promote(&self, content: &StateMachine) {
        let mut deadlines = self.deadlines.lock();
        // Under the lock: a grant that is applied meanwhile comes after.
        *deadlines = Some(self.fresh(content));
        drop(deadlines);
        self.changed.notify_one();
    }

    fn fresh(&self, content: &StateMachine) -> Deadlines {
        let now = self.clock.now();
        let mut fresh = Deadlines::default();
        for lease in content.leases() {
            fresh.grant(lease.id, seconds(lease.ttl_seconds), now);
        }
        fresh
    }

    pub(crate) fn demote(&self) {
        *self.deadlines.lock() = None;
        self.changed.notify_one();
    }

    /// A snapshot replaced the content.
    pub(crate) fn jumped(&self, content: &StateMachine) {
        let mut deadlines = self.deadlines.lock();
        if deadlines.is_some() {
            *deadlines = Some(self.fresh(content));
        }
        drop(deadlines);
        self.changed.notify_one();
    }

    pub(crate) fn granted(&self, id: LeaseId, ttl_seconds: i64) {
        let now = self.clock.now();
        if let Some(deadlines) = &mut *self.deadlines.lock() {
            deadlines.grant(id, seconds(ttl_seconds), now);
            if deadlines.next() == Some(now + seconds(ttl_seconds)) {
                self.changed.notify_one();
            }
        }
    }

    pub(crate) fn revoked(&self, id: LeaseId) {
        if let Some(deadlines) = &mut *self.deadlines.lock() {
            deadlines.remove(id);
        }
    }

    /// `Err` when this member does not lead; `Ok(0)` when there is no such lease.
    pub(crate) fn renew(&self, id: LeaseId) -> Result<i64, NotPrimary> {
        let now = self.clock.now();
        match &mut *self.deadlines.lock() {
            Some(deadlines) => Ok(deadlines.renew(id, now).map_or(0, whole_seconds)),
            None => Err(NotPrimary),
        }
    }

    /// `Err` when this member does not lead; `Ok(-1)` when there is no such lease.
    pub(crate) fn remaining(&self, id: LeaseId) -> Result<i64, NotPrimary> {
        let now = self.clock.now();
        match &*self.deadlines.lock() {
            Some(deadlines) => Ok(deadlines.remaining(id, now).map_or(-1, whole_seconds)),
            None => Err(NotPrimary),
        }
    }

    /// Waits until leases end; answers them.
    pub(crate) async fn next_expired(&self) -> Vec<LeaseId> {
        loop {
            let now = self.clock.now();
            let pause = {
                let mut deadlines = self.deadlines.lock();
                let expired = deadlines
                    .as_mut()
                    .map(|d| d.expired(now, EXPIRED_MAX))
                    .unwrap_or_default();
                if !expired.is_empty() {
                    return expired;
                }
                deadlines
                    .as_ref()
                    .and_then(Deadlines::next)
                    .map(|next| next.saturating_sub(now))
            };
            match pause {
                None => self.changed.notified().await,
                Some(pause) => {
                    tokio::select! {
                        biased;
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }
}

/// This member does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotPrimary;

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Rounded up: a lease with time left never shows none.
fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NONE: [LeaseId; 0] = [];

    #[test]
    fn a_lease_ends_at_its_deadline_and_not_before() {
        let mut deadlines = Deadlines::default();
        deadlines.grant(1, SECOND * 5, SECOND);
        deadlines.grant(2, SECOND * 3, SECOND);
        assert_eq!(deadlines.next(), Some(SECOND * 4));
        assert_eq!(
            deadlines.expired(SECOND * 4 - Duration::from_nanos(1), 9),
            NONE
        );
        assert_eq!(deadlines.expired(SECOND * 4, 9), [2]);
        assert_eq!(
            deadlines.next(),
            Some(SECOND * 5),
            "the retry comes before the other lease"
        );
    }

    #[test]
    fn keeping_alive_moves_the_deadline_until_the_end_was_proposed() {
        let mut deadlines = Deadlines::default();
        deadlines.grant(1, SECOND * 5, Duration::ZERO);
        assert_eq!(deadlines.renew(1, SECOND * 4), Some(SECOND * 5));
        assert_eq!(deadlines.expired(SECOND * 5, 9), NONE);
        assert_eq!(deadlines.remaining(1, SECOND * 6), Some(SECOND * 3));
        assert_eq!(deadlines.expired(SECOND * 9, 9), [1]);
        assert_eq!(deadlines.renew(1, SECOND * 9), None);
        assert_eq!(deadlines.remaining(1, SECOND * 9), Some(Duration::ZERO));
        assert_eq!(deadlines.expired(SECOND * 9, 9), NONE);
        assert_eq!(
            deadlines.expired(SECOND * 10, 9),
            [1],
            "it is tried again until it is gone"
        );
        deadlines.remove(1);
        assert_eq!(
            (deadlines.next(), deadlines.remaining(1, SECOND)),
            (None, None)
        );
    }

    #[test]
    fn many_ends_at_once_come_in_bounded_portions() {
        let mut deadlines = Deadlines::default();
        for id in 1..=10 {
            deadlines.grant(id, SECOND, Duration::ZERO);
        }
        assert_eq!(deadlines.expired(SECOND, 4).len(), 4);
        assert_eq!(deadlines.expired(SECOND, 4).len(), 4);
        assert_eq!(deadlines.expired(SECOND, 4).len(), 2);
    }
}

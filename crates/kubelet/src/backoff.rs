//! How long to wait before the next try: for containers that crash and images
//! that cannot be pulled.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Waits that double, each with the time of the try that set it.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: SignedDuration,
    max: SignedDuration,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// From `initial` doubling up to `max`.
    #[must_use]
    pub fn new(initial: SignedDuration, max: SignedDuration) -> Self {
        Self {
            initial,
            max,
            entries: HashMap::new(),
        }
    }

    /// Upstream's for containers that crash: 10 seconds to 5 minutes.
    #[must_use]
    pub fn for_restarts() -> Self {
        Self::new(
            SignedDuration::from_secs(10),
            SignedDuration::from_secs(300),
        )
    }

    /// The wait after a failure at `failed_at`, if it is not over at `now`: its
    /// whole length and its end.
    #[must_use]
    pub fn waiting(
        &self,
        key: &str,
        failed_at: Timestamp,
        now: Timestamp,
    ) -> Option<(SignedDuration, Timestamp)> {
        let entry = self
            .entries
            .get(key)
            .filter(|entry| !self.expired(entry, failed_at))?;
        let end = failed_at + entry.delay;
        (now < end).then_some((entry.delay, end))
    }

    /// Notes a try at `now` after a failure at `failed_at`: the next wait is longer.
    pub fn tried(&mut self, key: &str, failed_at: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, failed_at) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(
            key.to_owned(),
            Entry {
                delay,
                updated: now,
            },
        );
    }

    /// Forgets a key: what it stands for has succeeded.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// What went well for twice the longest wait starts anew.
    fn expired(&self, entry: &Entry, failed_at: Timestamp) -> bool {
        failed_at.duration_since(entry.updated) > self.max * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_good_run() {
        let mut backoff = Backoff::for_restarts();
        let mut now = 0;
        assert_eq!(
            backoff.waiting("c", at(now), at(now)),
            None,
            "the first crash is not waited for"
        );
        let mut delays = Vec::new();
        for _ in 0..7 {
            backoff.tried("c", at(now), at(now));
            now += 1;
            let (delay, end) = backoff
                .waiting("c", at(now), at(now))
                .expect("it just crashed");
            delays.push(delay.as_secs());
            assert_eq!(end, at(now) + delay);
            assert_eq!(backoff.waiting("c", at(now), end), None);
            now += delay.as_secs();
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        now += 601;
        assert_eq!(backoff.waiting("c", at(now), at(now)), None);
        backoff.tried("c", at(now), at(now));
        assert_eq!(
            backoff
                .waiting("c", at(now), at(now))
                .expect("it crashed")
                .0
                .as_secs(),
            10
        );
    }

    #[test]
    fn a_reset_forgets_one_key() {
        let mut backoff = Backoff::for_restarts();
        backoff.tried("a", at(0), at(0));
        backoff.tried("b", at(0), at(0));
        backoff.reset("a");
        assert!(backoff.waiting("a", at(1), at(1)).is_none());
        assert!(backoff.waiting("b", at(1), at(1)).is_some());
    }
}

//! Random numbers of the replica, the consensus library's included.
//!
//! The library asks for them without saying for whom, so a simulation seeds
//! them for the one thread it runs everything on.

use rand_0_10::rngs::SmallRng;
use rand_0_10::{RngExt, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// From here on, what is drawn on this thread follows from `seed`.
pub fn seed_this_thread(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}

/// A generator of one's own.
pub(crate) fn generator() -> SmallRng {
    let seed = SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map(|random| random.random()));
    SmallRng::seed_from_u64(seed.unwrap_or_else(|| rand_0_10::rng().random()))
}

/// Anything but zero, which means "none" everywhere.
pub(crate) fn id() -> u64 {
    generator().random_range(1..=u64::MAX)
}

/// Positive as a signed number too, for those who print it as one.
pub(crate) fn member_id() -> u64 {
    generator().random_range(1..=u64::MAX >> 1)
}

/// Anything but zero and what an id of a lease cannot be.
pub(crate) fn lease_id() -> i64 {
    generator().random_range(1..=i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_thread_repeats_itself_and_another_does_not_follow_it() {
        let draw = || {
            seed_this_thread(7);
            (id(), lease_id(), id())
        };
        let first = draw();
        assert_eq!(draw(), first);
        assert_ne!(first.0, first.2);
        let elsewhere = std::thread::spawn(|| (id(), lease_id(), id()));
        assert_ne!(elsewhere.join().unwrap(), first);
    }
}

//! The wall clock, as something that is handed in.

use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::sync::Arc;

/// Tells the time of day.
///
/// Controllers, leader election and event recorders take one, so that tests run
/// on Tokio's paused time and see the same instants on every run.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that a function reads.
    pub fn reading(time: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(time))
    }

    /// A clock that shows `start` now and advances with Tokio's time.
    #[must_use]
    pub fn following_tokio(start: Timestamp) -> Self {
        let zero = tokio::time::Instant::now();
        Self(Arc::new(move || {
            start + SignedDuration::try_from(zero.elapsed()).unwrap_or(SignedDuration::MAX)
        }))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

//! The last durations of something that happens often.

use parking_lot::Mutex;
use std::time::Duration;

/// How many are remembered.
const REMEMBERED: usize = 1024;

/// A window over the last durations.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// In microseconds; longer ones count as the longest that fits.
    micros: Vec<u32>,
    next: usize,
}

impl Recent {
    pub(crate) fn note(&self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut window = self.window.lock();
        let next = window.next;
        match window.micros.get_mut(next) {
            Some(oldest) => *oldest = micros,
            None => window.micros.push(micros),
        }
        window.next = (next + 1) % REMEMBERED;
    }

    /// 99 of 100 took at most this long.
    pub(crate) fn p99(&self) -> Option<Duration> {
        let mut sorted = self.window.lock().micros.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 99).div_ceil(100).checked_sub(1)?;
        Some(Duration::from_micros(u64::from(sorted[at])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_that_of_the_last_ones() {
        let recent = Recent::default();
        assert_eq!(recent.p99(), None);
        recent.note(Duration::from_micros(5));
        assert_eq!(recent.p99(), Some(Duration::from_micros(5)));
        for micros in 1..=100 {
            recent.note(Duration::from_micros(micros));
        }
        assert_eq!(recent.p99(), Some(Duration::from_micros(99)));
        for _ in 0..REMEMBERED {
            recent.note(Duration::from_micros(7));
        }
        assert_eq!(recent.p99(), Some(Duration::from_micros(7)));
    }
}

//! Durations as people read them.

use serde::Serialize;
use std::time::Duration;

/// How a number of durations are spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them are at most this.
    pub p50_ms: f64,
    /// All but a hundredth are at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of these; all zero if there are none.
    #[must_use]
    pub fn of(durations: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = durations.iter().map(|d| d.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank: the smallest that so many percent do not exceed.
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Self {
            count: sorted.len(),
            p50_ms: at(rank(50)),
            p99_ms: at(rank(99)),
            max_ms: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let bytes = bytes as f64;
    bytes / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |millis: &[u64]| {
            let all: Vec<Duration> = millis.iter().copied().map(Duration::from_millis).collect();
            let spread = Spread::of(&all);
            (spread.p50_ms, spread.p99_ms, spread.max_ms)
        };
        assert_eq!(of(&[]), (0.0, 0.0, 0.0));
        assert_eq!(of(&[7]), (7.0, 7.0, 7.0));
        assert_eq!(of(&[4, 1, 3, 2]), (2.0, 4.0, 4.0));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(of(&hundred), (50.0, 99.0, 100.0));
    }
}

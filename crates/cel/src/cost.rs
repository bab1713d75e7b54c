//! What an expression may cost at most, by the bounds of its variables: the
//! estimate that keeps costly rules out of schemas.

use std::ops::{Add, Mul};

/// An upper bound, in upstream's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Cost {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

/// What walking a text of this length costs.
pub(crate) fn of_text(length: Option<u64>) -> Cost {
    Cost(length.unwrap_or(u64::MAX).div_ceil(10))
}

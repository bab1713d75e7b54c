//! `resource.Quantity`: fixed-point numbers with SI suffixes, and the canonical
//! form in which upstream stores them.
//!
//! A value is held as a whole number of nano-units; finer ones are rounded up,
//! as upstream does (`apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;
use thiserror::Error;

const NANO: i128 = 1_000_000_000;

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// The grammar is not followed.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuantityFormat {
    /// `m`, `k`, `M`, …
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `e3`, `E6`, …
    DecimalExponent,
}

/// A fixed-point number with nine decimal places.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: QuantityFormat,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

impl Quantity {
    /// A whole number.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self {
            nanos: units as i128 * NANO,
            format: QuantityFormat::DecimalSi,
        }
    }

    /// Thousandths, for instance of a CPU.
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self {
            nanos: milli as i128 * 1_000_000,
            format: QuantityFormat::DecimalSi,
        }
    }

    /// A number of bytes, written with binary suffixes.
    #[must_use]
    pub const fn from_bytes(bytes: i64) -> Self {
        Self {
            nanos: bytes as i128 * NANO,
            format: QuantityFormat::BinarySi,
        }
    }

    /// The value rounded up to a whole number, capped at the range of `i64`.
    #[must_use]
    pub fn units(self) -> i64 {
        ceil_div(self.nanos, NANO)
    }

    /// The value rounded up to thousandths, capped at the range of `i64`.
    #[must_use]
    pub fn milli(self) -> i64 {
        ceil_div(self.nanos, 1_000_000)
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The family of suffixes.
    #[must_use]
    pub fn format(self) -> QuantityFormat {
        self.format
    }
}

fn ceil_div(nanos: i128, unit: i128) -> i64 {
    let quotient = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(quotient).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let scale = Scale::parse(suffix)?;
        let nanos = scale.nanos(whole, fraction);
        Ok(Self {
            nanos: if negative { -nanos } else { nanos },
            format: scale.format(),
        })
    }
}

/// What a suffix multiplies by.
enum Scale {
    Ten {
        exponent: i32,
        format: QuantityFormat,
    },
    Two(u32),
}

/// A suffix that is none: letters that suffixes consist of and a number, or
/// something else altogether.
fn refusal(suffix: &str) -> QuantityError {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        QuantityError::Suffix
    } else {
        QuantityError::Format
    }
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Ok(Self::Ten {
                exponent: *exponent,
                format: QuantityFormat::DecimalSi,
            });
        }
        if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Ok(Self::Two(*bits));
        }
        let exponent = suffix
            .strip_prefix(['e', 'E'])
            .ok_or_else(|| refusal(suffix))?;
        let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
        Ok(Self::Ten {
            exponent: exponent.clamp(-100, 100),
            format: QuantityFormat::DecimalExponent,
        })
    }

    fn format(&self) -> QuantityFormat {
        match self {
            Self::Ten { format, .. } => *format,
            Self::Two(_) => QuantityFormat::BinarySi,
        }
    }

    /// The value in nano-units, rounded up, saturating.
    fn nanos(&self, whole: &str, fraction: &str) -> i128 {
        let (shift, factor) = match self {
            Self::Ten { exponent, .. } => (exponent + 9, 1),
            Self::Two(bits) => (9, 1_i128 << bits),
        };
        // Digits beyond what an i128 holds cannot change a value that is capped anyway.
        let digits: String = whole.chars().chain(fraction.chars()).collect();
        let mut value: i128 = 0;
        let mut dropped = 0_i32;
        let mut inexact = false;
        for digit in digits.bytes().map(|b| i128::from(b - b'0')) {
            if value > i128::MAX / 2_000_000_000_000_000_000_000 {
                dropped += 1;
                inexact |= digit != 0;
            } else {
                value = value * 10 + digit;
            }
        }
        let mut power = shift - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2) + dropped;
        value = value.saturating_mul(factor);
        while power > 0 && value != 0 && value < i128::MAX / 10 {
            value *= 10;
            power -= 1;
        }
        if power > 0 && value != 0 {
            return i128::MAX;
        }
        while power < 0 && value != 0 {
            inexact |= value % 10 != 0;
            value /= 10;
            power += 1;
        }
        value.saturating_add(i128::from(inexact))
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix of the family that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == QuantityFormat::BinarySi && self.nanos % NANO == 0 {
            let units = self.nanos / NANO;
            let fitting = BINARY
                .iter()
                .rev()
                .find(|(_, bits)| units % (1_i128 << bits) == 0);
            return match fitting {
                Some((suffix, bits)) => write!(f, "{}{suffix}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == QuantityFormat::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{mantissa}")
            } else {
                write!(f, "{mantissa}e{exponent}")
            };
        }
        let suffix = DECIMAL
            .iter()
            .find(|(_, e)| *e == exponent)
            .map_or("", |(name, _)| name);
        write!(f, "{mantissa}{suffix}")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>()
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .to_string()
    }

    #[test]
    fn quantities_are_written_canonically() {
        for (text, expected) in [
            ("0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1024Ki", "1Mi"),
            ("1Gi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000000", "1M"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("-1.5", "-1500m"),
            ("1n", "1n"),
            ("0.5n", "1n"),
            ("128974848", "128974848"),
            ("1000Ki", "1000Ki"),
            ("5E", "5E"),
            ("1025", "1025"),
            ("100Mi", "100Mi"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1x", "1.2.3", "1 Gi", "--1", "1e", "ten"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn huge_numbers_are_capped_and_never_panic() {
        for text in [
            "1e100",
            "99999999999999999999999999999999999999999999",
            "9Ei",
            "-1e100",
            "0.000000000000000000000001",
        ] {
            let quantity: Quantity = text.parse().expect("valid");
            let _ = (
                quantity.units(),
                quantity.milli(),
                quantity.to_string(),
                quantity + quantity,
                quantity - quantity,
            );
        }
    }

    #[test]
    fn values_are_rounded_up() {
        let quantity: Quantity = "1500m".parse().expect("valid");
        assert_eq!((quantity.units(), quantity.milli()), (2, 1500));
        let quantity: Quantity = "-1500m".parse().expect("valid");
        assert_eq!(quantity.units(), -1);
    }
}

//! Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or
//! microseconds (`MicroTime`).

use jiff::Timestamp;

/// Parses an RFC 3339 time.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `metav1.Time`: whole seconds.
#[must_use]
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: always six digits of a second.
#[must_use]
pub fn format_micro(time: Timestamp) -> String {
    // Before 1970 the fraction is negative while the seconds are rounded down.
    let micros = time.subsec_nanosecond().rem_euclid(1_000_000_000) / 1_000;
    format!("{}.{micros:06}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let time = parse("2026-01-02T03:04:05.678901234+01:00").expect("valid");
        assert_eq!(format(time), "2026-01-02T02:04:05Z");
        assert_eq!(format_micro(time), "2026-01-02T02:04:05.678901Z");
    }
}

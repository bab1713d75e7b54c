//! The table.

use super::Outcome;
use crate::figures::mebibytes;
use std::fmt::Write;

/// The outcome as text.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let idle = mebibytes(outcome.idle_bytes);
    let mut text = format!("resident when idle: {idle:.0} MiB\n\n");
    let _ = writeln!(
        text,
        "{:<48}{:>12}{:>10}{:>10}{:>15}{:>15}{:>9}",
        "", "per second", "p50 ms", "p99 ms", "server us each", "client us each", "RSS MiB"
    );
    for row in &outcome.rows {
        let _ = writeln!(
            text,
            "{:<48}{:>12.0}{:>10.2}{:>10.2}{:>15.1}{:>15.1}{:>9.0}",
            row.name,
            row.measured.per_second,
            row.measured.latency.p50_ms,
            row.measured.latency.p99_ms,
            row.measured.server_us,
            row.measured.client_us,
            mebibytes(row.measured.resident_bytes)
        );
    }
    if let Some(bytes) = outcome.held_bytes {
        let _ = writeln!(
            text,
            "\nresident with all objects: {:.0} MiB",
            mebibytes(bytes)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;
    use crate::figures::Spread;
    use crate::measured::Measured;

    #[test]
    fn each_row_is_a_line() {
        let row = Row {
            name: "create, 1 client".into(),
            measured: Measured {
                per_second: 812.4,
                latency: Spread::of(&[]),
                server_us: 123.4,
                client_us: 56.7,
                resident_bytes: 64 << 20,
            },
        };
        let outcome = Outcome {
            idle_bytes: 40 << 20,
            rows: vec![row],
            held_bytes: Some(300 << 20),
        };
        let text = table(&outcome);
        assert!(text.starts_with("resident when idle: 40 MiB\n"), "{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with("create"))
            .expect("a line");
        assert!(line.contains("812") && line.contains("123.4"), "{line}");
        assert!(text.ends_with("all objects: 300 MiB\n"), "{text}");
    }
}

//! The table.

use super::Outcome;
use crate::figures::mebibytes;
use crate::measured::Measured;
use std::fmt::Write;

/// The outcome as text: a block for each workload, a line for each product, and
/// what the last one needs of the first.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let mut text = format!(
        "a flush of this disk takes {:.0} us (median)\n",
        outcome.flush_us
    );
    for row in &outcome.rows {
        let _ = writeln!(text, "\n{}", row.workload);
        let _ = writeln!(
            text,
            "  {:<14}{:>12}{:>10}{:>10}{:>14}{:>14}{:>10}",
            "", "per second", "p50 ms", "p99 ms", "server us/op", "client us/op", "RSS MiB"
        );
        for (name, measured) in outcome.products.iter().zip(&row.measured) {
            let _ = writeln!(text, "  {name:<14}{}", line(measured));
        }
        if let (Some(anchor), Some(own)) = (cheapest(&row.measured), row.measured.last()) {
            let _ = writeln!(text, "  {:<14}{}", "ratio", ratios(own, anchor));
        }
    }
    text
}

/// The better etcd: that which needs less processor time.
fn cheapest(measured: &[Measured]) -> Option<&Measured> {
    let etcds = &measured[..measured.len().saturating_sub(1)];
    etcds
        .iter()
        .min_by(|a, b| a.server_us.total_cmp(&b.server_us))
}

fn line(measured: &Measured) -> String {
    format!(
        "{:>12.0}{:>10.2}{:>10.2}{:>14.1}{:>14.1}{:>10.0}",
        measured.per_second,
        measured.latency.p50_ms,
        measured.latency.p99_ms,
        measured.server_us,
        measured.client_us,
        mebibytes(measured.resident_bytes)
    )
}

fn ratios(own: &Measured, anchor: &Measured) -> String {
    let of = |own: f64, anchor: f64| {
        if anchor > 0.0 {
            format!("{:.2} x", own / anchor)
        } else {
            "-".to_owned()
        }
    };
    format!(
        "{:>12}{:>10}{:>10}{:>14}{:>14}{:>10}",
        of(own.per_second, anchor.per_second),
        of(own.latency.p50_ms, anchor.latency.p50_ms),
        of(own.latency.p99_ms, anchor.latency.p99_ms),
        of(own.server_us, anchor.server_us),
        of(own.client_us, anchor.client_us),
        of(
            mebibytes(own.resident_bytes),
            mebibytes(anchor.resident_bytes)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;
    use crate::figures::Spread;

    #[test]
    fn kontiki_is_compared_with_the_cheaper_etcd() {
        let measured = |server_us: f64| Measured {
            per_second: 100.0,
            latency: Spread::of(&[]),
            server_us,
            client_us: 1.0,
            resident_bytes: 1 << 20,
        };
        let outcome = Outcome {
            products: vec!["etcd 3".into(), "etcd 4".into(), "kontiki".into()],
            flush_us: 90.0,
            rows: vec![Row {
                workload: "put".into(),
                measured: vec![measured(80.0), measured(40.0), measured(10.0)],
            }],
        };
        let text = table(&outcome);
        assert!(text.contains("0.25 x"), "{text}");
        assert!(text.contains("a flush of this disk takes 90 us"), "{text}");
    }
}

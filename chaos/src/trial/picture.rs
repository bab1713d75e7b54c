//! The timeline as a picture: faults, who leads, throughput, latency. Plain SVG
//! whose colours are the page's.

use crate::trial::Outcome;
use crate::trial::figures::Bucket;
use std::fmt::Write;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 64.0;
const LANE: f64 = 18.0;
const CHART: f64 = 120.0;
const GAP: f64 = 26.0;
const TOP: f64 = 20.0;
/// The latency axis is logarithmic, between these.
const LATENCY_MS: (f64, f64) = (0.1, 10_000.0);

struct Scale {
    length_ms: f64,
}

impl Scale {
    fn x(&self, at_ms: f64) -> f64 {
        LEFT + (WIDTH - LEFT - 8.0) * (at_ms / self.length_ms).clamp(0.0, 1.0)
    }
}

/// The picture of a run.
pub(crate) fn svg(outcome: &Outcome) -> String {
    let scale = Scale {
        length_ms: outcome.lasted_ms.max(1.0),
    };
    let lanes = f64::from(u32::try_from(outcome.members.len()).unwrap_or(0)) * LANE;
    let charts = TOP + lanes + GAP;
    let height = charts + 2.0 * (CHART + GAP) + 10.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline of the run\">\n"
    );
    faults(&mut out, outcome, &scale, height - GAP);
    leaders(&mut out, outcome, &scale);
    throughput(&mut out, &outcome.buckets, &scale, charts);
    latency(&mut out, &outcome.buckets, &scale, charts + CHART + GAP);
    seconds(&mut out, &scale, height - 8.0);
    out.push_str("</svg>\n");
    out
}

fn faults(out: &mut String, outcome: &Outcome, scale: &Scale, bottom: f64) {
    for (number, mark) in outcome.marks.iter().enumerate() {
        let (from, until) = (scale.x(mark.from_ms), scale.x(mark.until_ms));
        let width = (until - from).max(1.5);
        let title = format!("{}: {} {}", number + 1, mark.what, mark.hit.join(", "));
        let _ = writeln!(
            out,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}</title></rect><text class=\"number\" x=\"{:.1}\" y=\"14\">{}</text>",
            bottom - TOP,
            escape(&title),
            from + 2.0,
            number + 1
        );
    }
}

fn leaders(out: &mut String, outcome: &Outcome, scale: &Scale) {
    let mut y = TOP;
    for (member, name) in outcome.members.iter().enumerate() {
        let middle = y + LANE * 0.7;
        let _ = writeln!(
            out,
            "<text x=\"4\" y=\"{middle:.1}\">{}</text>",
            escape(name)
        );
        for reign in outcome.reigns.iter().filter(|reign| reign.member == member) {
            let (from, until) = (scale.x(reign.from_ms), scale.x(reign.until_ms));
            let _ = writeln!(
                out,
                "<rect class=\"leads\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{} leads in term {}</title></rect>",
                y + 3.0,
                (until - from).max(2.0),
                LANE - 6.0,
                escape(name),
                reign.term
            );
        }
        y += LANE;
    }
}

fn throughput(out: &mut String, buckets: &[Bucket], scale: &Scale, top: f64) {
    let most = buckets
        .iter()
        .map(|bucket| bucket.answered + bucket.failed)
        .max()
        .unwrap_or(0);
    let most = f64::from(most.max(1));
    let bottom = top + CHART;
    let width = buckets.get(1).map_or(0.0, |second| second.at_ms);
    let a_second = |count: f64| {
        if width > 0.0 {
            count * 1_000.0 / width
        } else {
            count
        }
    };
    for bucket in buckets {
        let x = scale.x(bucket.at_ms);
        let wide = (scale.x(bucket.at_ms + width) - x - 0.5).max(0.5);
        let well = f64::from(bucket.answered) / most * CHART;
        let badly = f64::from(bucket.failed) / most * CHART;
        let _ = writeln!(
            out,
            "<rect class=\"well\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{well:.1}\"/>",
            bottom - well
        );
        if badly > 0.0 {
            let _ = writeln!(
                out,
                "<rect class=\"badly\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{badly:.1}\"/>",
                bottom - well - badly
            );
        }
    }
    axis(out, top, bottom);
    let _ = writeln!(
        out,
        "<text x=\"4\" y=\"{:.1}\">{:.0}/s</text><text x=\"4\" y=\"{bottom:.1}\">calls</text>",
        top + 8.0,
        a_second(most)
    );
}

fn latency(out: &mut String, buckets: &[Bucket], scale: &Scale, top: f64) {
    let bottom = top + CHART;
    let y = |value: f64| {
        let (low, high) = LATENCY_MS;
        let part = (value.clamp(low, high) / low).ln() / (high / low).ln();
        bottom - part * CHART
    };
    for tick in [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        let at = y(tick);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"4\" y=\"{:.1}\">{tick} ms</text>",
            WIDTH - 8.0,
            at + 3.0
        );
    }
    for (class, value) in [
        (
            "p50",
            (|bucket: &Bucket| bucket.p50_ms) as fn(&Bucket) -> f64,
        ),
        ("p99", |bucket| bucket.p99_ms),
    ] {
        // A line where calls were answered; nothing where none did.
        for run in buckets.split(|bucket| bucket.answered == 0) {
            let points: Vec<String> = run
                .iter()
                .map(|bucket| format!("{:.1},{:.1}", scale.x(bucket.at_ms), y(value(bucket))))
                .collect();
            if !points.is_empty() {
                let _ = writeln!(
                    out,
                    "<polyline class=\"{class}\" points=\"{}\"/>",
                    points.join(" ")
                );
            }
        }
    }
    axis(out, top, bottom);
}

fn axis(out: &mut String, top: f64, bottom: f64) {
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {top:.1}V{bottom:.1}H{:.1}\"/>",
        WIDTH - 8.0
    );
}

fn seconds(out: &mut String, scale: &Scale, y: f64) {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0]
        .into_iter()
        .find(|step| scale.length_ms / (step * 1_000.0) <= 20.0)
        .unwrap_or(600.0);
    let mut at = 0.0;
    while at * 1_000.0 <= scale.length_ms {
        let x = scale.x(at * 1_000.0);
        let _ = writeln!(
            out,
            "<text class=\"second\" x=\"{x:.1}\" y=\"{y:.1}\">{at} s</text>"
        );
        at += step;
    }
}

/// Text as HTML and SVG take it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

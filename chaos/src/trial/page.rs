//! A run as a page for people and as a line for programs.

use crate::trial::picture::{escape, svg};
use crate::trial::verdict::Verdict;
use crate::trial::{Ended, Outcome};
use serde_json::{Value, json};
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #d8dee4;
  --fault: #d29922; --leads: #2563eb; --well: #3b8f5a; --badly: #c9372c; --p99: #8250df; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #30363d;
  --fault: #bb8009; --leads: #6ea8fe; --well: #56d364; --badly: #f85149; --p99: #d2a8ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1060px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; margin: 1em 0; }
th, td { text-align: left; vertical-align: top; padding: .3em .8em .3em 0;
  border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; }
pre { overflow-x: auto; border: 1px solid var(--faint); padding: .6em; font-size: 12px; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--ink); }
.fault { fill: var(--fault); opacity: .22; } .leads { fill: var(--leads); }
.well { fill: var(--well); } .badly, .failed { fill: var(--badly); color: var(--badly); }
.passed { color: var(--well); } .p50, .p99 { fill: none; stroke: var(--well); stroke-width: 1.5; }
.p99 { stroke: var(--p99); } .axis { fill: none; stroke: var(--ink); }
.grid { stroke: var(--faint); } .second { text-anchor: middle; }
a { color: var(--leads); }
";

fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n",
        title = escape(title)
    )
}

/// In a word.
pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome.ended {
        Ended::Void => "void",
        Ended::Judged if outcome.passed() => "passed",
        Ended::Judged => "failed",
    }
}

/// The page of a run.
pub(crate) fn html(outcome: &Outcome) -> String {
    let word = word(outcome);
    let mut out = begin(&format!("{}: {word}", outcome.scenario));
    let _ = writeln!(
        out,
        "<h1>{}: <span class=\"{word}\">{word}</span></h1>\n<p>{}. Seed {}, {} members, {:.1} s; {:.0} calls a second before the first fault.</p>",
        escape(outcome.scenario),
        escape(outcome.about),
        outcome.seed,
        outcome.members.len(),
        outcome.lasted_ms / 1_000.0,
        outcome.throughput
    );
    if matches!(outcome.ended, Ended::Void) {
        out.push_str(
            "<p>Too little was going on before the first fault: this run says nothing.</p>\n",
        );
    }
    out.push_str(&svg(outcome));
    out.push_str("<p>Bands are faults, bars beside a member's name its time as leader. Calls: <span class=\"passed\">answered</span>, <span class=\"failed\">not answered, or by nobody who could</span>. Latency: half (green) and 99 of 100 (violet) took no longer.</p>\n");
    checks(&mut out, outcome);
    faults(&mut out, outcome);
    for (name, said) in &outcome.logs {
        let _ = writeln!(out, "<h2>{}</h2><pre>{}</pre>", escape(name), escape(said));
    }
    out.push_str("</body></html>\n");
    out
}

fn checks(out: &mut String, outcome: &Outcome) {
    out.push_str("<h2>Checks</h2><table><tr><th>promise</th><th></th><th></th></tr>\n");
    for check in &outcome.checks {
        let word = match check.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Open => "not judged",
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"{word}\">{word}</td><td>{}</td></tr>",
            check.name,
            escape(&check.detail)
        );
    }
    out.push_str("</table>\n");
}

fn faults(out: &mut String, outcome: &Outcome) {
    out.push_str("<h2>Faults</h2><table><tr><th></th><th>from</th><th>to</th><th>what</th><th>whom</th><th>calls answered</th><th>longest gap between writes</th><th></th></tr>\n");
    for (number, (mark, impact)) in outcome.marks.iter().zip(&outcome.impacts).enumerate() {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{:.2} s</td><td>{:.2} s</td><td>{}</td><td>{}</td><td>{:.1} % of {}</td><td>{:.0} ms</td><td>{}</td></tr>",
            number + 1,
            mark.from_ms / 1_000.0,
            mark.until_ms / 1_000.0,
            escape(&mark.what),
            escape(&mark.hit.join(", ")),
            impact.available * 100.0,
            impact.called,
            impact.gap_ms,
            escape(&mark.notes.join("; "))
        );
    }
    out.push_str("</table>\n");
}

/// A line for programs.
#[must_use]
pub fn json(outcome: &Outcome) -> Value {
    let broken = outcome
        .checks
        .iter()
        .find(|check| check.verdict == Verdict::Failed);
    json!({
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "verdict": word(outcome),
        "broken": broken.map(|check| json!({"check": check.name, "detail": check.detail})),
        "seconds": (outcome.lasted_ms / 100.0).round() / 10.0,
        "calls_per_second_before": outcome.throughput.round(),
        "checks": outcome.checks.iter().map(|check| (check.name.to_owned(), json!(check.verdict))).collect::<serde_json::Map<_, _>>(),
        "faults": outcome.marks,
        "impacts": outcome.impacts,
    })
}

/// The page that leads to the others: what, in a word, in detail, where.
pub(crate) fn index(runs: &[(String, Value)]) -> String {
    let mut out = begin("Chaos");
    out.push_str("<h1>Chaos</h1><table><tr><th>scenario</th><th>seed</th><th></th><th>seconds</th><th>faults</th></tr>\n");
    for (file, run) in runs {
        let word = run["verdict"].as_str().unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td class=\"{word}\">{word}</td><td>{}</td><td>{}</td></tr>",
            escape(file),
            escape(run["scenario"].as_str().unwrap_or_default()),
            run["seed"],
            run["seconds"],
            run["faults"].as_array().map_or(0, Vec::len)
        );
    }
    out.push_str("</table></body></html>\n");
    out
}

//! Telling people and programs what a run showed.

use crate::failover::{Manner, Outcome};
use crate::timeline::Ms;
use serde_json::{Value, json};
use std::fmt::Write;

const BAR_CELLS: usize = 40;
/// More losses or failures than this are only counted.
const SHOWN_MAX: usize = 5;

/// One line of JSON.
#[must_use]
pub fn json(number: u32, outcome: &Outcome) -> Value {
    let timeline = &outcome.timeline;
    json!({
        "run": number,
        "server": outcome.server,
        "manner": manner(outcome.manner),
        "lost_writes": outcome.lost_writes,
        "failed_fetches": outcome.failed_fetches.len(),
        "gap_ms": timeline.gap_ms.map(f64::round),
        "leader_ms": timeline.leader_ms.map(f64::round),
        "first_write_ms": timeline.first_write_ms.map(f64::round),
        "leases_ms": timeline.leases_ms().map(f64::round),
        "scheduler_lease_ms": timeline.scheduler_ms.map(f64::round),
        "controller_manager_lease_ms": timeline.controllers_ms.map(f64::round),
        "leases_held": outcome.held,
        "caught_up_ms": outcome.caught_up_ms.round(),
        "writes": outcome.writes,
        "fetches": outcome.fetches,
    })
}

fn manner(manner: Manner) -> &'static str {
    match manner {
        Manner::Kill => "killed",
        Manner::Pause => "frozen",
    }
}

/// The timeline as bars, and what was lost.
#[must_use]
pub fn text(number: u32, outcome: &Outcome) -> String {
    let mut out = String::new();
    let held = match outcome.held.as_slice() {
        [] => "it held no lease".to_owned(),
        leases => format!("it held {}", leases.join(" and ")),
    };
    let _ = writeln!(
        out,
        "run {number}: {}, the leader, was {}; {held}",
        outcome.server,
        manner(outcome.manner)
    );
    let timeline = &outcome.timeline;
    let mut rows = vec![
        ("new leader", timeline.leader_ms),
        ("first write", timeline.first_write_ms),
    ];
    for (name, at) in [
        ("kube-scheduler", timeline.scheduler_ms),
        ("kube-controller-manager", timeline.controllers_ms),
    ] {
        if outcome.held.contains(&name) {
            rows.push((name, at));
        }
    }
    let longest = rows.iter().filter_map(|(_, at)| *at).fold(1.0, f64::max);
    for (name, at) in rows {
        let _ = match at {
            Some(at) => writeln!(
                out,
                "  {name:<24} {:<BAR_CELLS$} {at:>7.0} ms",
                bar(at, longest)
            ),
            None => writeln!(out, "  {name:<24} {:<BAR_CELLS$}   never", "?"),
        };
    }
    let pause = timeline.gap_ms.map_or_else(
        || "never again one".to_owned(),
        |gap| format!("longest pause {gap:.0} ms"),
    );
    let _ = writeln!(
        out,
        "  writes  {} acknowledged, {} lost, {pause}",
        outcome.writes, outcome.lost_writes
    );
    let _ = writeln!(
        out,
        "  page    {} fetches, {} failed",
        outcome.fetches,
        outcome.failed_fetches.len()
    );
    let _ = writeln!(
        out,
        "  {} was back and had caught up after {:.0} ms",
        outcome.server, outcome.caught_up_ms
    );
    for (server, loss) in outcome.losses.iter().take(SHOWN_MAX) {
        let found = loss
            .found
            .map_or_else(|| "nothing".to_owned(), |counter| counter.to_string());
        let _ = writeln!(
            out,
            "  LOST on {server}: {} was {}, now {found}",
            loss.name, loss.acknowledged
        );
    }
    for (at, why) in outcome.failed_fetches.iter().take(SHOWN_MAX) {
        let _ = writeln!(out, "  FAILED fetch {at:.0} ms after the start: {why}");
    }
    out
}

/// A bar as long as its part of the longest time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between 0 and the bar's 40 cells"
)]
fn bar(at: Ms, longest: Ms) -> String {
    let cells = (at / longest * BAR_CELLS as f64)
        .round()
        .clamp(0.0, BAR_CELLS as f64) as usize;
    if cells == 0 {
        "▏".to_owned()
    } else {
        "█".repeat(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Loss;
    use crate::timeline::Timeline;

    fn outcome() -> Outcome {
        Outcome {
            server: "s2".into(),
            manner: Manner::Kill,
            timeline: Timeline {
                leader_ms: Some(250.4),
                first_write_ms: Some(300.0),
                gap_ms: Some(305.0),
                scheduler_ms: Some(1_000.0),
                controllers_ms: None,
                orphaned: false,
            },
            held: vec!["kube-scheduler"],
            writes: 1_234,
            lost_writes: 0,
            losses: Vec::new(),
            fetches: 99,
            failed_fetches: Vec::new(),
            caught_up_ms: 2_000.0,
        }
    }

    #[test]
    fn a_clean_run_is_one_line_of_json() {
        let line = json(3, &outcome());
        assert_eq!(line["lost_writes"], 0);
        assert_eq!(line["failed_fetches"], 0);
        assert_eq!(
            (&line["gap_ms"], &line["leader_ms"]),
            (&json!(305.0), &json!(250.0))
        );
        assert_eq!(line["leases_ms"], json!(1000.0));
        assert!(!line.to_string().contains('\n'));
    }

    #[test]
    fn leases_that_were_not_held_are_null() {
        let mut outcome = outcome();
        outcome.timeline.scheduler_ms = None;
        outcome.held.clear();
        assert_eq!(json(1, &outcome)["leases_ms"], Value::Null);
        assert!(text(1, &outcome).contains("it held no lease"));
    }

    #[test]
    fn bars_are_as_long_as_the_times_are() {
        let text = text(1, &outcome());
        let cells = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.contains(name) && line.contains(" ms"))
                .expect("a line");
            line.chars().filter(|character| *character == '█').count()
        };
        assert_eq!(
            (
                cells("new leader"),
                cells("first write"),
                cells("kube-scheduler  ")
            ),
            (10, 12, 40)
        );
    }

    #[test]
    fn what_was_lost_is_named() {
        let mut outcome = outcome();
        let loss = Loss {
            name: "chaos-1".into(),
            acknowledged: 7,
            found: None,
        };
        outcome.losses.push(("s3".into(), loss));
        outcome.lost_writes = 7;
        assert!(!outcome.is_clean());
        assert!(text(1, &outcome).contains("LOST on s3: chaos-1 was 7, now nothing"));
    }
}

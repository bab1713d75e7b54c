//! What a run showed: every promise, kept or broken.

use kontiki_checker::{Clocks, History, Property, check};
use serde::Serialize;
use std::time::Duration;

/// Clients and members share one machine's clock; a moment may be noted this late.
const CLOCKS: Clocks = Clocks {
    drift: 0.0,
    error: Duration::from_millis(20),
};

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was.
    Passed,
    /// It was not.
    Failed,
    /// Another one was broken first, so nobody knows.
    Open,
}

/// One promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Which.
    pub name: &'static str,
    /// Whether it was kept.
    pub verdict: Verdict,
    /// How much was looked at, or what is wrong.
    pub detail: String,
}

/// How a run ended, apart from what clients saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Why the cluster did not recover, or could not be troubled as planned.
    pub broke: Option<String>,
    /// What members said when they panicked.
    pub panics: Vec<String>,
    /// How long it took until every member served again.
    pub recovered: Duration,
}

/// The order in which the checkers look.
const PROPERTIES: [(Property, &str); 5] = [
    (Property::EqualHashes, "members hold the same"),
    (Property::DenseRevisions, "revisions are dense"),
    (Property::Linearizable, "linearizable"),
    (Property::Watch, "watches miss and repeat nothing"),
    (Property::Lease, "leases live as long as promised"),
];

/// Judges a history and the end of its run.
pub(crate) fn judge(history: &History, ending: &Ending) -> Vec<Check> {
    let mut checks = promises(history);
    let broke = ending.broke.clone();
    checks.push(Check {
        name: "the cluster recovers",
        verdict: verdict(broke.is_none()),
        detail: broke.unwrap_or_else(|| {
            format!(
                "every member served after {} ms",
                ending.recovered.as_millis()
            )
        }),
    });
    checks.push(Check {
        name: "no member panics",
        verdict: verdict(ending.panics.is_empty()),
        detail: ending.panics.join("\n"),
    });
    checks
}

fn verdict(passed: bool) -> Verdict {
    if passed {
        Verdict::Passed
    } else {
        Verdict::Failed
    }
}

fn promises(history: &History) -> Vec<Check> {
    let found = check(history, CLOCKS);
    let details = match &found {
        Ok(summary) => [
            format!("{} hashes compared", summary.hashes),
            format!("{} revisions", summary.revisions),
            format!(
                "{} calls answered, {} of unknown end",
                summary.answered, summary.unknown
            ),
            format!(
                "{} events in {} watches",
                summary.events,
                history.watches.len()
            ),
            format!("{} leases ended by themselves", summary.expired),
        ],
        Err(_) => Default::default(),
    };
    let broken = found.as_ref().err();
    let checks = PROPERTIES
        .iter()
        .zip(details)
        .map(|((property, name), detail)| {
            let (verdict, detail) = match broken {
                None => (Verdict::Passed, detail),
                Some(violation) if violation.property == *property => {
                    (Verdict::Failed, violation.what.clone())
                }
                Some(_) => (Verdict::Open, String::new()),
            };
            Check {
                name,
                verdict,
                detail,
            }
        });
    checks.collect()
}

/// Lines in which a member says that it panicked.
pub(crate) fn panics(name: &str, said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.contains("panicked at"));
    lines.map(|line| format!("{name}: {line}")).collect()
}

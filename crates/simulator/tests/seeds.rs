//! A few seeds, and every planted bug.

use kontiki_simulator::{Bug, Plan, Troubles, simulate};
use std::time::Duration;

/// Seeds that hold; each is a cluster in trouble for some seconds.
const SEEDS: u64 = 2;
/// Within so many seeds a planted bug has to show.
const SEEDS_FOR_A_BUG: u64 = 60;

#[test]
fn a_few_seeds_hold() {
    for seed in 0..SEEDS {
        let report = simulate(&Plan {
            troubled_for: Duration::from_secs(5),
            ..Plan::new(seed)
        });
        let report = report.unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.what));
        assert!(report.summary.revisions > 20, "seed {seed}: {report:?}");
        assert!(report.summary.events > 20, "seed {seed}: {report:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let plan = Plan {
        troubled_for: Duration::from_secs(3),
        ..Plan::new(7)
    };
    let report = || {
        let mut report = simulate(&plan).unwrap();
        // The date in HTTP's headers is the real one: how often it changes, and so
        // how well headers are compressed, is not the seed's to say.
        report.network_bytes = 0;
        report
    };
    assert_eq!(report(), report());
}

/// The first seed that shows a bug, with what it shows. `from` is one that
/// showed it when this was written, so that the search is short.
fn find(bug: Bug, troubles: Troubles, from: u64) -> (u64, String) {
    let found = (from..from + SEEDS_FOR_A_BUG).find_map(|seed| {
        let failure = simulate(&Plan {
            troubles,
            bug: Some(bug),
            ..Plan::new(seed)
        });
        failure.err().map(|failure| (seed, failure.what))
    });
    found.unwrap_or_else(|| panic!("{bug:?} was not found in {SEEDS_FOR_A_BUG} seeds"))
}

#[track_caller]
fn is_found(bug: Bug, from: u64, properties: &[&str]) {
    is_found_among(Troubles::All, bug, from, properties);
}

#[track_caller]
fn is_found_among(troubles: Troubles, bug: Bug, from: u64, properties: &[&str]) {
    let (seed, what) = find(bug, troubles, from);
    assert!(
        properties.iter().any(|property| what.starts_with(property)),
        "seed {seed} shows something else: {what}"
    );
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    is_found(
        Bug::AcknowledgeBeforeSync,
        2,
        &[
            "Linearizable",
            "DenseRevisions",
            "EqualHashes",
            "Watch",
            "the store panicked",
            "waited",
        ],
    );
}

#[test]
fn a_stale_read_after_a_pause_is_found() {
    let properties = &["Linearizable"];
    is_found_among(Troubles::Splits, Bug::StaleReadAfterPause, 0, properties);
}

#[test]
fn a_watch_event_that_is_lost_at_a_compaction_is_found() {
    is_found(Bug::LostWatchEventAtCompaction, 1, &["Watch"]);
}

#[test]
fn a_lease_that_ends_by_the_local_clock_is_found() {
    is_found(Bug::LeaseExpiryByLocalClock, 3, &["Lease"]);
}

#[test]
fn a_revision_that_is_skipped_after_a_crash_is_found() {
    is_found(
        Bug::RevisionSkippedAfterCrash,
        0,
        &["DenseRevisions", "EqualHashes", "Linearizable", "Watch"],
    );
}

#[test]
fn a_double_apply_after_a_snapshot_is_found() {
    is_found(
        Bug::DoubleApplyAfterSnapshot,
        0,
        &["DenseRevisions", "EqualHashes", "Linearizable", "Watch"],
    );
}

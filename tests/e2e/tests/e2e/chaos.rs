//! The store's promises on real processes: a short set of what `cargo xtask
//! chaos` does at length.

use kontiki_chaos::trial::{self, Ended, Plan, report::Reports, scenario};
use std::time::Duration;
use xtask::progress::Steps;
use xtask::{build, install, paths, suite};

/// A void run says nothing: it is done again.
const ATTEMPTS: usize = 3;

fn keeps_its_promises(name: &str) {
    install::require_root("to make network namespaces and mounts").expect("root");
    let binary = Steps::new()
        .step("kontiki", |step| build::release(step, "kontiki"))
        .expect("it is built");
    let pages = paths::root().join(".kontiki/chaos");
    let plan = Plan {
        scenario: scenario::find(name).expect("there is such a scenario"),
        seed: 1,
        length: Duration::from_secs(5),
        binary,
        cluster: suite::E2E_CHAOS_CLUSTER.to_owned(),
        keep: pages.clone(),
    };
    let outcome = trial::run_valid(&plan, ATTEMPTS).expect("it runs");
    let page = Reports::new(&pages).and_then(|mut reports| reports.add(&outcome));
    assert_eq!(
        outcome.ended,
        Ended::Judged,
        "only {:.0} calls a second before the first fault",
        outcome.throughput
    );
    assert!(outcome.passed(), "{:?}, see {page:?}", outcome.broken());
    assert!(!outcome.marks.is_empty());
}

#[test]
fn nothing_is_lost_when_the_leader_is_killed() {
    keeps_its_promises("kill-leader");
}

#[test]
fn a_leader_that_is_cut_off_answers_nothing_stale() {
    keeps_its_promises("isolate-leader");
}

#[test]
fn a_full_disk_costs_a_member_and_no_promise() {
    keeps_its_promises("full-disk");
}

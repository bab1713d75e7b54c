//! What the end-to-end tests share: one cluster with real containers, real
//! kubectl binaries, and ways to run and to wait.
//!
//! The cluster `e2e` is brought up by the first test that needs it and stays
//! until `cargo xtask test e2e` (or `cargo xtask down --cluster e2e`) takes it
//! away, so that one test can be run again quickly.
//!
//! **Invariant:** a test works in a namespace of its own, and what it disturbs
//! in the cluster (a killed server, a cordoned node) it mends.

pub mod fixture;
pub mod process;
pub mod scratch;

pub use fixture::{CLUSTER, VERSIONS, cluster, kubectl, kubectl_of};
pub use process::{Background, Output, run, run_with_input, script};
pub use scratch::{Scratch, pod};

use std::time::{Duration, Instant};

/// How long anything may take that has no reason to take long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `done` answers something.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not within {} s; {}",
            PATIENCE.as_secs(),
            process::last_output()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

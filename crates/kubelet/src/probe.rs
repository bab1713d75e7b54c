//! Probes: when a container counts as started, ready, and alive.
//!
//! [`ProbeState`] is the pure machine; [`Probes`] keeps one task a probe and
//! the verdicts that plans and statuses read.

mod action;
mod runner;
mod state;

pub use action::{Handler, ProbeTarget, run_handler};
pub use runner::Probes;

//! Measuring what Kontiki costs, and what it feels like to use.
//!
//! **Invariant:** nothing here passes or fails: a bench prints what it saw, and
//! readers judge.

pub mod api;
pub mod cluster;
pub mod figures;
pub mod measured;
pub mod store;
pub mod usage;

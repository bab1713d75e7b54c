//! The scheduler: finds a node for every pod that has none.
//!
//! A pure core decides: [`snapshot`] holds what is known about nodes, the
//! [`plugins`] are functions over it, [`decide`] runs them in the order of
//! upstream's extension points, and [`queue`] says which pod is next and when a
//! failed one is tried again. [`Scheduler`] is the shell: it feeds changes in
//! and carries decisions out.
//!
//! **Invariant:** the core never reads a clock or a random number; a pod that
//! was assigned to a node counts there from that moment on, until the API
//! server shows it there or refuses it.

pub mod cache;
pub mod config;
pub mod decide;
pub mod framework;
pub mod metrics;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod queue;
pub mod resources;
mod shell;
pub mod snapshot;

pub use config::{Config, ConfigError};
pub use metrics::Metrics;
pub use shell::Scheduler;

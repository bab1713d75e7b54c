//! The controllers: each makes one part of the world as its objects say.
//!
//! The machinery is written once. A [`Reconciler`] takes a key, never an event:
//! it *observes* (caches, seldom a live read), *plans* (pure), and one shared
//! executor applies the plan. Owner references, adoption, expectations, conflict
//! retry, events, back-off and metrics are the machinery's, not a controller's.
//! A controller is one file and one line in [`list`].
//!
//! **Invariant:** restart and steady state are one path; a reconciler keeps
//! nothing between two calls. An idle cluster causes no request.

mod caches;
mod config;
mod controller;
mod controller_manager;
mod executor;
mod expectations;
mod fields;
mod list;
mod owners;
mod plan;
mod pods;
mod revisions;
mod runner;

mod certificates;
mod cluster_role_aggregation;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoints;
mod garbage_collector;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replica_set;
mod resource_quota;
mod root_ca;
mod service_account;
mod service_endpoints;
mod stateful_set;
mod taint_eviction;
mod token_cleaner;
mod ttl_after_finished;

#[cfg(test)]
mod scenario;

pub use caches::Caches;
pub use config::{Config, ServedResource, SignRequest, Signer};
pub use controller::{Context, Controller, Keys, Moment, Reconciler, Target, Watch};
pub use controller_manager::{ClientBuilder, ControllerManager};
pub use executor::Executor;
pub use list::{all, names};
pub use plan::{Action, Plan, PlannedEvent};

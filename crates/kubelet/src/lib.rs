//! The node's side of pods: real containers from what the API server says.
//!
//! - [`plan`] decides (pure), [`worker`] looks, acts and reports, one task a pod.
//! - [`status`] computes what is reported (pure); [`node`] does so for the node.
//! - [`cri`] talks to the container runtime; [`sandbox`], [`container`], [`env`](mod@env),
//!   [`resources`] and [`volumes`] say what it is to make.
//! - [`probe`], [`logs`], [`image`] and [`token`] are what their names say.
//! - [`http`] is the API by which the API server reaches into pods.
//!
//! **Invariant:** everything is found out again after a restart: running
//! containers are adopted, never disturbed. **Invariant:** an API server that is
//! away stops nothing that runs; a runtime that is away stops only work on it.

mod backoff;
mod config;
mod container;
mod context;
pub mod cri;
mod env;
mod events;
mod fields;
mod heartbeat;
pub mod http;
mod image;
mod kubelet;
mod labels;
mod logs;
mod machine;
mod node;
mod orphans;
pub mod plan;
mod probe;
mod relist;
mod resources;
mod sandbox;
mod spec;
mod stats;
pub mod status;
mod token;
mod volumes;
mod worker;

pub use config::{CgroupDriver, KubeletConfig, Taint};
pub use heartbeat::{Heartbeat, LeaseHeartbeat};
pub use kubelet::Kubelet;

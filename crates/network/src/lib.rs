//! The pod network of one node: CNI configuration, routes to the pods of other
//! nodes, and masquerading of what leaves the cluster.
//!
//! Nodes that share a link reach each other's pods by plain routes; others
//! through a VXLAN device. What is wanted is computed from the Node objects
//! ([`plan`]), compared with what the kernel has, and only the difference is
//! carried out ([`kernel`]).
//!
//! **Invariant:** only routes of protocol [`plan::ROUTE_PROTOCOL`], the device
//! [`plan::DEVICE`] and the table [`kernel::TABLE`] are ever changed or removed.

pub mod cni;
pub mod kernel;
pub mod plan;
mod run;

pub use run::{Network, NetworkConfig, NetworkError};

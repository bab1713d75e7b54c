//! The pod network of a node: a bridge for its pods, and routes to the pods of
//! the other nodes.
//!
//! Pods get their interfaces from the standard CNI plugins; [`conflist`] says
//! how. [`Desired::build`] says which routes the other nodes' pod ranges need,
//! straight to the node when it is a neighbour on one link and through a VXLAN
//! device otherwise; [`plan`] says what to change. All of it is pure.
//! [`Network`] follows the nodes and carries plans out.
//!
//! **Invariants:** only routes with our own protocol number, the device
//! `kontiki0`, the bridge's configuration file and the table `kontiki-network`
//! are touched. Stopping leaves everything in place: running pods keep their network.

mod cni;
mod kernel;
mod network;
mod plan;

pub use cni::{CniConfig, conflist};
pub use kernel::{Kernel, KernelError};
pub use network::{Network, NetworkConfig, NetworkError};
pub use plan::{Action, Desired, Facts, Peer, Route, Tunnel, VXLAN_DEVICE, peers, plan};

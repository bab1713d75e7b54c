//! Cluster DNS, as the Kubernetes DNS specification (version 1.1.0) asks.
//!
//! [`zone`] answers from the caches of Services and `EndpointSlice`s, [`wire`]
//! turns questions into answers in DNS's own form, [`forward`] asks others about
//! names outside the cluster, [`Dns`] serves UDP and TCP.
//!
//! **Invariant:** an answer is computed from the caches as they are at that
//! moment; nothing is copied or cached here, so nothing can be stale.

mod forward;
mod serve;
pub mod wire;
pub mod zone;

pub use forward::{Forwarder, upstreams};
pub use serve::{Dns, DnsConfig, DnsError};

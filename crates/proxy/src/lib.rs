//! The service proxy of one node: Services become nftables rules.
//!
//! [`services`] reads Services and `EndpointSlice`s into plain facts, [`rules`]
//! turns facts into a [`ruleset::Ruleset`], and [`ruleset::transaction`] into the
//! smallest change from what is loaded. [`Proxy`] follows the objects and hands
//! transactions to `nft`, each of which takes effect whole or not at all.
//!
//! The shape of the rules (service map, chain a service, chain an endpoint, mark
//! and masquerade) is that of kube-proxy's nftables mode, KEP-3866.
//!
//! **Invariant:** only the table [`ruleset::TABLE`] is ever touched.

mod metrics;
pub mod rules;
pub mod ruleset;
mod run;
pub mod services;

pub use run::{Proxy, ProxyConfig, ProxyError};

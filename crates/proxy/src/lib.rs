//! The service proxy of a node: Services and EndpointSlices become nftables rules.
//!
//! [`service_ports`] says what each port of each Service leads to on this node,
//! [`Ruleset::build`] says which rules that is, [`Ruleset::script_from`] says
//! which commands lead there from what is loaded. All three are pure. [`Proxy`]
//! runs them whenever a cache changes and hands the commands to `nft`, which
//! carries them out in one kernel transaction: no packet ever sees half of it.
//!
//! **Invariant:** only tables named `kontiki-proxy` are touched.

mod conntrack;
mod metrics;
mod nft;
mod proxy;
mod ruleset;
mod script;
mod service;

pub use metrics::Metrics;
pub use nft::{Nft, NftCommand, NftError};
pub use proxy::{Caches, Proxy, ProxyConfig, cleanup};
pub use ruleset::{Family, Ruleset, TABLE};
pub use service::{Affinity, Destination, Protocol, ServicePort, Traffic, service_ports};

//! The cluster's DNS, served on every node: names of Services, their endpoints
//! and pods, as the Kubernetes DNS specification 1.1.0 says; everything else is
//! asked upstream.
//!
//! [`View`] is an immutable picture of the cluster's names, [`answer`] a pure
//! function of a question and a view. [`Dns`] keeps the view current and moves
//! packets.
//!
//! **Invariants:** the number of connections and of questions upstream is
//! bounded; a malformed packet is dropped or answered with an error, never
//! more; a name of the cluster's domain is never asked upstream.

mod answer;
mod forward;
mod server;
mod view;

pub use answer::{Answer, Outcome, Zone, answer};
pub use forward::{Upstreams, upstreams_of};
pub use server::{Caches, Dns, DnsConfig};
pub use view::View;

//! Interactive streams: `exec`, `attach` and `port-forward` between a user, an
//! API server and a kubelet.
//!
//! - [`spdy`] is a SPDY/3.1 session, the protocol kubelets and container
//!   runtimes speak.
//! - [`websocket`] translates between the WebSocket subprotocols of newer users
//!   and such a session.
//! - [`upgrade()`] asks an HTTP/1.1 peer to switch protocols; [`splice`] joins two
//!   byte streams once both have.
//!
//! **Invariant:** everything in flight is bounded, and when one side dies the
//! other is let go: no task outlives the future or the [`spdy::Session`] that
//! started it.

pub mod spdy;
mod splice;
mod upgrade;
pub mod websocket;

pub use splice::splice;
pub use upgrade::{Outcome, UpgradeError, is_upgrade, upgrade};

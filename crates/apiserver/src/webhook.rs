//! Calls to webhooks: to URLs directly, to Services through the nodes that
//! their pods are on.
//!
//! * [`WebhookClient`] posts a body and answers one.
//! * [`endpoint`] finds a ready endpoint of a Service.
//! * [`connect`] opens the connection.
//!
//! **Invariants:** bodies and the number of kept connections are bounded; a
//! server is believed only under the authorities of the configuration (the
//! system's, if it names none) and under the name that the call is for.

mod client;
mod connect;
mod endpoint;
mod trust;

pub use client::WebhookClient;
pub use endpoint::Endpoint;

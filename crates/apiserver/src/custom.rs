//! Custom resources: from definitions to kinds that are served like any other.
//!
//! * [`kinds`] makes kinds of a definition; [`strategy`] is what happens to
//!   their objects; [`form`] is how they look; [`json_path`] reads their columns.
//! * [`naming`] decides which names a definition gets.
//! * [`controller`] follows the definitions on every server, keeps the catalog
//!   and the definitions' statuses, and clears up after those that go.
//! * [`conversion`] asks webhooks how an object looks in another version.
//!
//! **Invariant:** a custom kind is a [`kontiki_kinds::Kind`] like any other;
//! cache, registry and discovery know no second path.

pub mod controller;
pub mod conversion;
pub mod form;
pub mod json_path;
pub mod kinds;
pub mod naming;
pub mod strategy;

pub use controller::Controller;
pub use conversion::{NoWebhooks, WebhookCaller};

#[cfg(test)]
mod tests;

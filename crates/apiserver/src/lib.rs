//! The API server: one path for every kind, from HTTP to the store and back.
//!
//! * [`cache`] holds the present and the recent past, fed by the store.
//! * [`registry`] reads and writes objects of any kind.
//! * [`admission`] changes and refuses requests on their way to the store.
//! * [`allocate`] gives Services their addresses and ports.
//! * [`dispatch`] carries an allowed request out, for every transport:
//!   [`http`] speaks the wire, [`in_process`] skips it.
//! * [`custom`] makes kinds of CustomResourceDefinitions.
//! * [`webhook`] calls webhooks, also those behind Services.
//! * [`subresource`], [`review`] and [`connect`] are what is no plain object.
//!
//! **Invariants:** every transport passes authorization and admission; only
//! [`error`] knows which error has which HTTP code.

pub mod admission;
pub mod allocate;
pub mod bootstrap;
pub mod cache;
pub mod catalog;
pub mod codec;
pub mod connect;
pub mod custom;
pub mod dial;
pub mod dispatch;
pub mod error;
pub mod http;
pub mod in_process;
pub mod lease;
pub mod metrics;
pub mod registry;
pub mod review;
pub mod server;
pub mod subresource;
pub mod webhook;

pub use dial::{AsyncReadWrite, DialTarget, NoNodes, NodeDialer};
pub use server::{ApiServer, Config, HealthCheck};

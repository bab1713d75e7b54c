//! How every component talks to the API server, and the caches, queues and
//! leader election that controllers are built from.
//!
//! [`Api`] is the one interface; it has several transports: in process (offered
//! by the API server itself), HTTPS ([`https`]), and NodeLink (offered by the
//! node agent). Components hold a [`Client`], which is a handle on some `Api`.
//!
//! **Invariant:** a component cannot tell which transport it uses; every one of
//! them passes authentication, authorization and admission.

mod api;
mod client;
pub mod informer;
pub mod resources;

pub use api::{
    Api, ApiRequest, ApiResponse, DeleteOptions, ListParams, PatchKind, Preconditions,
    PropagationPolicy, Verb, WatchEvent, WatchParams, WatchStream, WriteOptions,
};
pub use client::{Client, ResourceClient};
pub use informer::{Delta, Informer, InformerConfig, ObjectCache};

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
mod clock;
pub mod events;
pub mod https;
pub mod informer;
pub mod leader;
pub mod queue;
pub mod resources;
pub mod testing;

pub use api::{
    Api, ApiRequest, ApiResponse, DeleteOptions, ListParams, PatchKind, Preconditions,
    PropagationPolicy, Verb, WatchEvent, WatchParams, WatchStream, WriteOptions,
};
pub use client::{Client, ResourceClient};
pub use clock::Clock;
pub use events::{EventRecorder, EventType};
pub use https::{HttpsApi, HttpsConfig, HttpsError};
pub use informer::{Delta, Informer, InformerConfig, ObjectCache};
pub use leader::{LeaderConfig, LeaderElector, LeaderStatus, Witness};
pub use queue::{Backoff, QueueMetrics, WorkQueue};

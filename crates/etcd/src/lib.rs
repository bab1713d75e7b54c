//! etcd v3's gRPC API in front of a [`Store`](kontiki_store::Store).
//!
//! etcd clients, `etcdctl` included, work against it without knowing: the same
//! services, status codes, error texts and watch protocol.
//!
//! **Invariant:** nothing here decides anything about keys or revisions; it
//! translates, and it multiplexes watches.

mod cluster;
mod convert;
mod error;
mod health;
mod kv;
mod lease;
mod maintenance;
mod server;
mod watch;

pub mod snapshot;

/// The messages and services of the wire.
#[expect(missing_docs, reason = "generated from proto/etcd")]
pub mod pb {
    /// Keys and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// Requests, answers and services.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// Users, roles and permissions.
    pub mod authpb {
        tonic::include_proto!("authpb");
    }
    /// Leases at rest.
    pub mod leasepb {
        tonic::include_proto!("leasepb");
    }
    /// The standard health check.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}

pub use error::status;
pub use server::{Options, VERSION, router, services};

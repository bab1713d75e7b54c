//! etcd v3's gRPC API in front of a [`Store`](kontiki_store::Store).
//!
//! etcd clients, `etcdctl` included, work against it without knowing: the same
//! services, status codes, error texts and watch protocol.
//!
//! **Invariant:** nothing here decides anything about keys or revisions; it
//! translates, and it multiplexes watches.

mod auth;
mod authority;
mod cluster;
mod convert;
mod diagnosis;
mod election;
mod error;
mod gateway;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod queue;
mod range_stream;
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
    /// Locks.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// Elections.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    /// How a member is doing, beyond what etcd tells.
    pub mod diagnosis {
        tonic::include_proto!("kontiki.store.v1");
    }
    /// The standard health check.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}

pub use auth::{ClientName, Jwt, JwtError, Tokens};
pub use authority::{MendedAuthority, MendedListener};
pub use diagnosis::CertificateDays;
pub use error::status;
pub use server::{Options, VERSION, router, services};

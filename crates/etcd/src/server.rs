//! Putting the services together.

use crate::auth::Tokens;
use crate::convert::Answerer;
use crate::diagnosis::CertificateDays;
use crate::pb::diagnosis::diagnosis_server::DiagnosisServer;
use crate::pb::etcdserverpb::auth_server::AuthServer;
use crate::pb::etcdserverpb::cluster_server::ClusterServer;
use crate::pb::etcdserverpb::kv_server::KvServer;
use crate::pb::etcdserverpb::lease_server::LeaseServer;
use crate::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::pb::etcdserverpb::watch_server::WatchServer;
use crate::pb::health::health_server::HealthServer;
use crate::pb::v3electionpb::election_server::ElectionServer;
use crate::pb::v3lockpb::lock_server::LockServer;
use crate::{gateway, health};
use axum::routing::get;
use kontiki_store::Operations;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::service::Routes;

/// The version of etcd whose behaviour this is; clients choose their features by it.
pub const VERSION: &str = "3.6.0";

/// A stream of answers.
pub(crate) type Responses<T> = ReceiverStream<Result<T, Status>>;

/// Limits and times of the façade.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the largest message that is taken.
    pub message_bytes_max: usize,
    /// Bytes of events in one watch response, unless one revision has more.
    pub watch_response_bytes: usize,
    /// Bytes above which a response is split for watchers that allow it.
    pub watch_fragment_bytes: usize,
    /// Time between progress notifications of an idle watcher that wants them.
    pub progress_interval: Duration,
    /// How long a watch that wants a leader lasts without one.
    pub leader_patience: Duration,
    /// The scheme of the peers' addresses, for those who read them as URLs.
    pub peer_scheme: &'static str,
    /// Where a snapshot is put together before it is sent.
    pub snapshot_dir: PathBuf,
    /// How clients' tokens are made.
    pub tokens: Tokens,
    /// How hard passwords are to guess from their hashes.
    pub bcrypt_cost: u32,
    /// Watchers on one stream.
    pub watches_per_stream_max: usize,
    /// Answer reads from this replica alone when there is no leader to ask. Such
    /// answers say so in their metadata.
    pub stale_reads: bool,
    /// How long the certificate is good that clients are shown.
    pub certificate_days: CertificateDays,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            message_bytes_max: 2 << 20,
            watch_response_bytes: 1 << 20,
            watch_fragment_bytes: 2 << 20,
            progress_interval: Duration::from_secs(600),
            leader_patience: Duration::from_secs(3),
            peer_scheme: "https",
            snapshot_dir: std::env::temp_dir(),
            tokens: Tokens::default(),
            bcrypt_cost: 10,
            watches_per_stream_max: 100_000,
            stale_reads: false,
            certificate_days: CertificateDays::default(),
        }
    }
}

/// What every service shares.
#[derive(Clone)]
pub(crate) struct Etcd {
    pub(crate) store: Arc<dyn Operations>,
    pub(crate) options: Options,
}

impl Etcd {
    pub(crate) fn answerer(&self) -> Answerer {
        Answerer::new(&self.store.status().borrow())
    }
}

/// The gRPC services of the store.
pub fn services(store: Arc<dyn Operations>, options: Options) -> Routes {
    let max = options.message_bytes_max;
    let etcd = Etcd { store, options };
    Routes::new(KvServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(WatchServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(LeaseServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(AuthServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(LockServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(ElectionServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(ClusterServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(MaintenanceServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(DiagnosisServer::new(etcd.clone()).max_decoding_message_size(max))
        .add_service(HealthServer::new(etcd).max_decoding_message_size(max))
}

/// The gRPC services together with `/health`, `/version` and their like, and
/// with the JSON of `/v3/`, for a listener of
/// the caller's that speaks HTTP/1.1 and HTTP/2.
pub fn router(store: Arc<dyn Operations>, options: Options) -> axum::Router {
    let pages = axum::Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .with_state(Etcd {
            store: store.clone(),
            options: options.clone(),
        });
    let max = options.message_bytes_max;
    let grpc = services(store, options).prepare().into_axum_router();
    let json = gateway::router(&grpc, max);
    grpc.merge(pages).merge(json)
}

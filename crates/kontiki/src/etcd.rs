//! The store alone, in etcd's place.

mod tls;

pub use tls::TlsFiles;

use crate::process_metrics::ProcessMetrics;
use crate::replica::{self, Ended};
use crate::server::{StoreDirs, Traces, listener};
use crate::snapshots::{self, Schedule, SnapshotMetrics};
use anyhow::{Context, Result, bail};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use kontiki_etcd::{MendedListener, Tokens};
use kontiki_mvcc::Limits;
use kontiki_raft::{
    InitialMember, InitialState, ReplicatedConfig, ReplicatedStore, StoreLimits, Timing,
};
use kontiki_store::Store;
use kontiki_telemetry::{Telemetry, TelemetryConfig};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tls::{certificate_days, client_tls, peer_tls};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const REVISIONS_LOOKED_AT_EVERY: Duration = Duration::from_secs(300);
/// Beyond a request's own bytes, as etcd allows.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;

/// A URL to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    /// `host:port`.
    pub address: String,
    /// Whether over TLS.
    pub secure: bool,
}

impl ListenUrl {
    /// Takes `http://host:port` or `https://host:port`.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, address) = url.split_once("://").unwrap_or(("", url));
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => bail!("{url:?} is no URL to listen at; write http://host:port"),
        };
        let address = address.trim_end_matches('/').to_owned();
        anyhow::ensure!(address.contains(':'), "{url:?} names no port");
        Ok(Self { address, secure })
    }

    fn resolve(&self) -> Result<SocketAddr> {
        let cannot = || format!("{:?} is no address of this machine", self.address);
        let mut found = self.address.to_socket_addrs().with_context(cannot)?;
        found.next().with_context(cannot)
    }
}

/// What old history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// What is older than this.
    Age(Duration),
    /// All but this many revisions.
    Revisions(i64),
}

/// Everything that the flags say.
#[derive(Debug)]
pub struct EtcdConfig {
    pub name: String,
    pub data_dir: PathBuf,
    pub listen_clients: Vec<ListenUrl>,
    pub advertised_clients: Vec<String>,
    pub listen_peer: ListenUrl,
    pub members: Vec<InitialMember>,
    pub initial_state: InitialState,
    pub token: String,
    pub client_tls: Option<TlsFiles>,
    pub client_cert_auth: bool,
    pub peer_tls: Option<TlsFiles>,
    pub quota_bytes: Option<u64>,
    pub compaction: Option<Compaction>,
    pub timing: Timing,
    pub log_entries_max: u64,
    pub request_bytes_max: usize,
    pub txn_ops_max: usize,
    pub strict_reconfig: bool,
    pub stale_reads: bool,
    pub rebuild_corrupt_member: bool,
    pub encryption_key_file: Option<PathBuf>,
    pub tokens: Tokens,
    pub snapshots: Option<Schedule>,
}

/// Runs until it is asked to stop.
pub async fn run(config: EtcdConfig, log_level: &str) -> Result<Ended> {
    let telemetry = TelemetryConfig {
        log_filter: log_level.to_owned(),
        ..TelemetryConfig::default()
    };
    let telemetry = Telemetry::init("kontiki-etcd", &telemetry)?;
    let cancel = CancellationToken::new();
    crate::cli::stop_on_signal(cancel.clone())?;
    let result = serve(config, cancel).await;
    telemetry.shutdown();
    result
}

async fn serve(config: EtcdConfig, cancel: CancellationToken) -> Result<Ended> {
    let mut listeners = Vec::new();
    // Taken before anything starts: a wrong port is told at once.
    for url in &config.listen_clients {
        listeners.push((listener::bind(url.resolve()?).await?, url.clone()));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessMetrics::default()));
    let snapshot_metrics = SnapshotMetrics::register(&mut registry);
    let store = start_store(&config, &mut registry, &cancel).await?;
    let Some(store) = store else {
        return Ok(Ended::Asked);
    };
    let options = kontiki_etcd::Options {
        message_bytes_max: config.request_bytes_max + MESSAGE_OVERHEAD_BYTES,
        peer_scheme: if config.peer_tls.is_some() {
            "https"
        } else {
            "http"
        },
        snapshot_dir: config.data_dir.clone(),
        stale_reads: config.stale_reads,
        tokens: config.tokens.clone(),
        certificate_days: certificate_days(config.client_tls.clone()),
        ..kontiki_etcd::Options::default()
    };
    let pages = axum::Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(registry));
    let router = kontiki_etcd::router(store.clone(), options).merge(pages);
    let tls = config
        .client_tls
        .as_ref()
        .map(|files| client_tls(files, config.client_cert_auth))
        .transpose()?;
    let serving = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for (socket, url) in listeners {
        let (router, stop) = (router.clone(), serving.clone());
        match tls.clone().filter(|_| url.secure) {
            Some(tls) => {
                tasks.spawn(listener::serve(socket, tls, router, stop));
            }
            None => {
                tasks.spawn(async move {
                    let _ = axum::serve(MendedListener(socket), router)
                        .with_graceful_shutdown(stop.cancelled_owned())
                        .await;
                });
            }
        }
    }
    tasks.spawn(tell_when_ready(store.clone(), serving.clone()));
    if let Some(schedule) = config.snapshots.clone() {
        let stop = serving.clone();
        tasks.spawn(snapshots::keep(
            store.clone(),
            schedule,
            snapshot_metrics,
            stop,
        ));
    }
    if let Some(Compaction::Revisions(kept)) = config.compaction {
        tasks.spawn(keep_revisions(store.clone(), kept, serving.clone()));
    }
    let failing = replica::until_it_ends(&store, &config.data_dir, config.rebuild_corrupt_member);
    let ended = cancel.run_until_cancelled(failing).await;
    let ended = ended.unwrap_or(Ended::Asked);
    tracing::info!("handing over");
    store.shutdown().await;
    serving.cancel();
    // Open watches would hold a graceful end up.
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(ended)
}

/// `None` if the process was asked to stop before the store had started.
async fn start_store(
    config: &EtcdConfig,
    registry: &mut Registry,
    cancel: &CancellationToken,
) -> Result<Option<Arc<ReplicatedStore>>> {
    let limits = StoreLimits {
        request: Limits {
            txn_ops_max: config.txn_ops_max,
            request_bytes_max: config.request_bytes_max,
        },
        log_entries_max: config.log_entries_max,
        ..StoreLimits::default()
    };
    let auto_compaction = match config.compaction {
        Some(Compaction::Age(age)) => Some(age),
        _ => None,
    };
    let replicated = ReplicatedConfig {
        cluster_token: config.token.clone(),
        initial_state: config.initial_state,
        listen_peer: config.listen_peer.resolve()?.to_string(),
        client_urls: config.advertised_clients.clone(),
        tls: config.peer_tls.as_ref().map(peer_tls).transpose()?,
        timing: config.timing,
        limits,
        auto_compaction,
        strict_reconfig: config.strict_reconfig,
        quota_bytes: config.quota_bytes,
        traces: Some(Arc::new(Traces)),
        ..ReplicatedConfig::new(
            StoreDirs::of(&config.data_dir).log,
            &config.name,
            config.members.clone(),
        )
    };
    let rebuild = config.rebuild_corrupt_member;
    let keys = config.encryption_key_file.as_deref();
    let start = replica::start(&config.data_dir, replicated, rebuild, keys, registry);
    cancel.run_until_cancelled(start).await.transpose()
}

/// etcd's own words: others wait for them in the log.
async fn tell_when_ready(store: Arc<ReplicatedStore>, stop: CancellationToken) {
    let mut status = store.status();
    let ready = status.wait_for(|status| status.leader_id != 0 && status.recovered);
    if let Some(Ok(_)) = stop.run_until_cancelled(ready).await {
        tracing::info!("ready to serve client requests");
    }
}

async fn keep_revisions(store: Arc<ReplicatedStore>, kept: i64, stop: CancellationToken) {
    let pause = || tokio::time::sleep(REVISIONS_LOOKED_AT_EVERY);
    while stop.run_until_cancelled(pause()).await.is_some() {
        let status = store.status().borrow().clone();
        let revision = status.revision - kept;
        if status.is_leader() && revision > status.compact_revision {
            tracing::info!(revision, "compacting history");
            if let Err(error) = store.compact(revision, false).await {
                tracing::warn!(%error, "could not compact");
            }
        }
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut body = String::new();
    if text::encode(&mut body, &registry).is_err() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n",
        )
            .into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

//! `kontiki server`: a server, put together.

mod access;
mod backend;
mod certificates;
mod components;
mod dialer;
mod dns_service;
pub mod listener;
mod store;

pub use store::{StoreDirs, Traces};

use crate::config::{Component, ServerConfig};
use crate::process_metrics::ProcessMetrics;
use crate::replica::{self, Ended};
use crate::snapshots::{self, Schedule, SnapshotMetrics};
use access::Access;
use anyhow::{Context, Result};
use backend::NodeBackend;
use certificates::Certificates;
use dialer::HubDialer;
use kontiki_apiserver::ApiServer;
use kontiki_apiserver::cache::CacheLimits;
use kontiki_apiserver::http::ServeConfig;
use kontiki_auth::UserInfo;
use kontiki_auth::user::{API_SERVER, MASTERS};
use kontiki_client::Client;
use kontiki_nodelink::NodeHub;
use kontiki_raft::ReplicatedStore;
use kontiki_telemetry::Telemetry;
use parking_lot::RwLock;
use prometheus_client::registry::Registry as MetricsRegistry;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The issuer of service-account tokens, and the audience they are for.
const ISSUER: &str = "https://kubernetes.default.svc";

/// Runs a server until it is asked to stop.
pub async fn run(config: ServerConfig) -> Result<Ended> {
    let telemetry = Telemetry::init("kontiki-server", &config.telemetry)?;
    config.validate()?;
    let cancel = CancellationToken::new();
    crate::cli::stop_on_signal(cancel.clone())?;
    let result = serve(config, cancel).await;
    telemetry.shutdown();
    result
}

fn snapshot_schedule(config: &ServerConfig) -> Schedule {
    let snapshots = &config.snapshots;
    let default = || config.data_dir.join("snapshots");
    Schedule {
        dir: snapshots.dir.clone().unwrap_or_else(default),
        every: Duration::from_secs(snapshots.every_hours * 3600),
        keep: snapshots.keep.max(1),
        peer_scheme: "https",
    }
}

async fn serve(config: ServerConfig, cancel: CancellationToken) -> Result<Ended> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make {}", config.data_dir.display()))?;
    let certificates = Arc::new(Certificates::obtain(&config)?);
    // Taken before anything starts: a wrong port is told at once.
    let api_listener =
        listener::bind(SocketAddr::new(config.listen_address, config.api_port)).await?;
    let etcd_listener =
        listener::bind(SocketAddr::new(config.listen_address, config.etcd_port)).await?;
    let metrics = Arc::new(RwLock::new(MetricsRegistry::default()));
    let mut registry = MetricsRegistry::default();
    registry.register_collector(Box::new(ProcessMetrics::default()));
    let snapshot_metrics = SnapshotMetrics::register(&mut registry);
    let store = store::start(&config, &certificates, &mut registry).await?;
    *metrics.write() = registry;
    tracing::info!(
        name = config.name,
        servers = config.servers.len(),
        "the store's replica runs"
    );

    // Components stop first and hand their leases over while the API still serves.
    let serving = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let etcd = kontiki_etcd::router(
        store.clone(),
        kontiki_etcd::Options {
            snapshot_dir: config.data_dir.clone(),
            stale_reads: config.stale_reads,
            certificate_days: certificates.store_days(),
            ..kontiki_etcd::Options::default()
        },
    );
    if config.snapshots.every_hours > 0 {
        let schedule = snapshot_schedule(&config);
        tasks.spawn(snapshots::keep(
            store.clone(),
            schedule,
            snapshot_metrics,
            serving.clone(),
        ));
    }
    tasks.spawn(listener::serve(
        etcd_listener,
        certificates.etcd()?,
        etcd,
        serving.clone(),
    ));
    tokio::spawn(certificates.clone().keep(serving.clone()));

    let access = Access::new(certificates.secrets(), ISSUER)?;
    let hub = NodeHub::default();
    hub.set_peers(other_servers(&config)?, certificates.to_servers()?);
    let api = ApiServer::new(
        api_config(&config, &store, &access, &certificates, &hub)?,
        metrics.clone(),
    );
    let (cache, filled) = (api.clone(), serving.clone());
    tasks.spawn(async move { cache.run(filled).await });
    let own = UserInfo::new(API_SERVER, &[MASTERS]).with_authenticated_group();
    let own = Client::new(api.api(own), "kube-apiserver");
    access.follow(&own, &serving);
    // What writes to the API ends before what serves it.
    let mut components = JoinSet::new();
    let (server, stop) = (api.clone(), cancel.clone());
    components.spawn(async move { server.bootstrap(stop).await });
    if config.runs(Component::Dns) {
        let ensured = dns_service::ensure(own, config.clone());
        let stop = cancel.clone();
        components.spawn(async move {
            stop.run_until_cancelled_owned(ensured)
                .await
                .unwrap_or_default();
        });
    }

    let authority = certificates.secrets().cluster.clone();
    let backend = NodeBackend::new(
        config.clone(),
        api.clone(),
        access.bootstrap.clone(),
        authority,
    );
    let nodelink =
        kontiki_nodelink::server::Service::server(Arc::new(backend), hub, serving.clone());
    let serve = ServeConfig {
        tls: certificates.api()?,
        trust: access.trust.clone(),
        grpc: Some(
            tonic::service::Routes::new(nodelink)
                .prepare()
                .into_axum_router(),
        ),
    };
    let (server, stop) = (api.clone(), serving.clone());
    tasks.spawn(async move {
        if let Err(error) = kontiki_apiserver::http::serve(server, api_listener, serve, stop).await
        {
            tracing::error!(%error, "the API cannot be served");
        }
    });

    components::start(
        &config,
        &api,
        &store,
        &certificates,
        &metrics,
        &mut components,
        &cancel,
    );
    let failing = replica::until_it_ends(&store, &config.data_dir, config.rebuild_corrupt_member);
    let ended = cancel.run_until_cancelled(failing).await;
    let ended = ended.unwrap_or(Ended::Asked);
    cancel.cancel();
    tracing::info!("handing over");
    while components.join_next().await.is_some() {}
    serving.cancel();
    while tasks.join_next().await.is_some() {}
    store.shutdown().await;
    tracing::info!("stopped");
    Ok(ended)
}

fn api_config(
    config: &ServerConfig,
    store: &Arc<ReplicatedStore>,
    access: &Access,
    certificates: &Certificates,
    hub: &NodeHub,
) -> Result<kontiki_apiserver::Config> {
    let own = config.own()?;
    let address = (own.address.as_str(), config.api_port)
        .to_socket_addrs()
        .with_context(|| {
            format!(
                "the address {:?} of this server cannot be resolved",
                own.address
            )
        })?
        .next()
        .with_context(|| {
            format!(
                "the address {:?} of this server has no IP address",
                own.address
            )
        })?;
    Ok(kontiki_apiserver::Config {
        store: store.clone(),
        authenticator: access.authenticator.clone(),
        authorizer: access.authorizer.clone(),
        rbac: access.rbac.clone(),
        token_issuer: access.issuer.clone(),
        token_keys: access.keys.clone(),
        api_audiences: access.bearer.audiences().to_vec(),
        dialer: Arc::new(HubDialer(hub.clone())),
        service_cidr: config.service_net(),
        node_ports: 30_000..=32_767,
        advertise_address: address,
        client_ca_pem: certificates.secrets().cluster.certificate_pem().to_owned(),
        identity: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cache: CacheLimits::default(),
        max_requests_inflight: 400,
        max_mutating_requests_inflight: 200,
        admission: config.admission.to_api(),
        request_timeout: Duration::from_secs(60),
    })
}

fn other_servers(config: &ServerConfig) -> Result<Vec<String>> {
    let own = config.own()?;
    let others = config.servers.iter().filter(|server| *server != own);
    Ok(others
        .map(|server| crate::config::config_host_port(&server.address, config.api_port))
        .collect())
}

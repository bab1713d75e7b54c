//! The API server as one thing: what it is made of and what it offers.

use crate::admission::{Admission, AdmissionConfig};
use crate::allocate::Allocator;
use crate::cache::{CacheLimits, WatchCache};
use crate::catalog::Catalog;
use crate::custom;
use crate::dial::NodeDialer;
use crate::http;
use crate::in_process::InProcess;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::webhook::WebhookClient;
use ::http::{Request, Response};
use axum::Router;
use axum::body::Body;
use ipnet::IpNet;
use kontiki_auth::token::{TokenIssuer, TokenKeys};
use kontiki_auth::{Authenticator, Authorizer, UserInfo};
use kontiki_client::Api;
use kontiki_store::Store;
use parking_lot::RwLock;
use prometheus_client::registry::Registry as MetricsRegistry;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What an API server is made of.
pub struct Config {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Finds out who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// Says who may.
    pub authorizer: Arc<dyn Authorizer>,
    /// What users hold, and so may give to others.
    pub rbac: Arc<kontiki_auth::rbac::Rbac>,
    /// Signs service-account tokens.
    pub token_issuer: Arc<TokenIssuer>,
    /// The keys of tokens, which are published.
    pub token_keys: Arc<TokenKeys>,
    /// Who tokens are for if they do not say.
    pub api_audiences: Vec<String>,
    /// The way to nodes.
    pub dialer: Arc<dyn NodeDialer>,
    /// The range of cluster IPs.
    pub service_cidr: IpNet,
    /// The range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Where other servers and pods reach this one, as `host:port`; it is
    /// published in the endpoints of the `kubernetes` service.
    pub advertise_address: std::net::SocketAddr,
    /// Certificates that clients are authenticated by, in PEM form; published.
    pub client_ca_pem: String,
    /// This server's name, unique among the servers.
    pub identity: String,
    /// The version of the product.
    pub version: String,
    /// Limits of the watch cache.
    pub cache: CacheLimits,
    /// Requests that only read and may be in flight at once.
    pub max_requests_inflight: usize,
    /// Requests that write and may be in flight at once.
    pub max_mutating_requests_inflight: usize,
    /// Which admission plugins are on.
    pub admission: AdmissionConfig,
    /// How long a request may take that is no watch and no stream.
    pub request_timeout: Duration,
}

/// A check of `/readyz` and its siblings: an error text if all is not well.
pub type HealthCheck = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The parts, shared by all requests.
pub struct Inner {
    /// What it was made of.
    pub config: Config,
    /// Reads and writes.
    pub registry: Arc<Registry>,
    /// Follows the definitions of custom resources.
    pub custom: Arc<custom::Controller>,
    /// Counters.
    pub metrics: Metrics,
    /// The registry that `/metrics` shows.
    pub metrics_registry: Arc<RwLock<MetricsRegistry>>,
    /// Checks by name.
    pub checks: RwLock<BTreeMap<String, HealthCheck>>,
    pub(crate) documents: http::Documents,
    pub(crate) reading: Arc<AtomicUsize>,
    pub(crate) writing: Arc<AtomicUsize>,
    populated: AtomicBool,
    stopping: AtomicBool,
}

impl Inner {
    /// Whether the cluster's first objects are there, as far as this server knows.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.populated.load(Ordering::Acquire)
    }

    pub(crate) fn set_populated(&self) {
        self.populated.store(true, Ordering::Release);
    }

    /// Whether this server takes no more connections.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// An API server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

impl ApiServer {
    /// A server that shows its metrics in `metrics_registry`. It serves once
    /// [`ApiServer::run`] has filled the cache.
    #[must_use]
    pub fn new(config: Config, metrics_registry: Arc<RwLock<MetricsRegistry>>) -> Self {
        let catalog = Arc::new(Catalog::default());
        let cache = WatchCache::new(config.store.clone(), config.cache);
        let allocator = Allocator {
            service_cidr: config.service_cidr,
            node_ports: config.node_ports.clone(),
        };
        let admission = Admission::standard(
            config.rbac.clone(),
            config.authorizer.clone(),
            &config.admission,
        );
        let registry = Registry::new(cache, catalog, admission, allocator);
        let webhooks = WebhookClient::new(&registry, config.dialer.clone());
        registry.set_webhooks(Arc::new(webhooks));
        let metrics = Metrics::register(&mut metrics_registry.write());
        let inner = Arc::new(Inner {
            config,
            custom: custom::Controller::new(registry.clone()),
            registry,
            metrics,
            metrics_registry,
            checks: RwLock::default(),
            documents: http::Documents::default(),
            reading: Arc::default(),
            writing: Arc::default(),
            populated: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let server = Self { inner };
        let store = server.inner.config.store.status();
        server.add_check(
            "etcd",
            Arc::new(move || {
                let status = store.borrow();
                match status.errors.first() {
                    Some(error) => Err(error.clone()),
                    None => Ok(()),
                }
            }),
        );
        server
    }

    /// Adds a check to the health endpoints.
    pub fn add_check(&self, name: &str, check: HealthCheck) {
        self.inner.checks.write().insert(name.to_owned(), check);
    }

    /// The parts.
    #[must_use]
    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    /// Keeps the cache up to date until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        let custom = self.inner.custom.clone().run(cancel.clone());
        let cache = self.inner.registry.cache().clone().run(cancel);
        tokio::join!(cache, custom);
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        http::handle(self.inner.clone(), request).await
    }

    /// The REST part as a router without routes of its own but a fallback.
    pub fn router(&self) -> Router {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.handle(request).await) }
        });
        Router::new().fallback_service(service)
    }

    /// The API for a component in this process, under an identity of its own.
    #[must_use]
    pub fn api(&self, user: UserInfo) -> Arc<dyn Api> {
        Arc::new(InProcess::new(self.inner.clone(), user))
    }
}

//! Scheduler and controllers: warm on every server, active on one.

use super::certificates::Certificates;
use crate::config::{Component, ServerConfig};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_apiserver::ApiServer;
use kontiki_apiserver::catalog::Catalog;
use kontiki_auth::UserInfo;
use kontiki_auth::user::{CONTROLLER_MANAGER, SCHEDULER, SYSTEM_NAMESPACE};
use kontiki_client::{Client, Clock, LeaderConfig, LeaderElector, QueueMetrics, Witness};
use kontiki_controllers::{ClientBuilder, ControllerManager, ServedResource, SignRequest, Signer};
use kontiki_object::GroupVersionResource;
use kontiki_pki::{Authority, CertificateRequest, SigningPolicy, Usages};
use kontiki_raft::ReplicatedStore;
use kontiki_scheduler::Scheduler;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts those that the configuration names; `tasks` ends when their leases have been released.
pub fn start(
    config: &ServerConfig,
    api: &ApiServer,
    store: &Arc<ReplicatedStore>,
    certificates: &Certificates,
    metrics: &RwLock<Registry>,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) {
    if config.runs(Component::Scheduler) {
        start_scheduler(config, api, store, &mut metrics.write(), tasks, cancel);
    }
    if config.runs(Component::ControllerManager) {
        start_controllers(
            config,
            api,
            store,
            certificates,
            &mut metrics.write(),
            tasks,
            cancel,
        );
    }
}

fn elector(
    config: &ServerConfig,
    client: &Client,
    name: &str,
    peers: &Arc<ReplicatedStore>,
) -> LeaderElector {
    let stands = LeaderConfig::new(name, config.name.clone());
    LeaderElector::new(client, stands, Clock::system()).with_witness(Arc::new(Peers(peers.clone())))
}

/// Candidates have the names of the servers that they run in.
struct Peers(Arc<ReplicatedStore>);

#[async_trait]
impl Witness for Peers {
    async fn has_ended(&self, holder: &str) -> bool {
        self.0.has_ended(holder).await
    }
}

fn start_scheduler(
    config: &ServerConfig,
    api: &ApiServer,
    store: &Arc<ReplicatedStore>,
    registry: &mut Registry,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) {
    let user = UserInfo::new(SCHEDULER, &[]).with_authenticated_group();
    let client = Client::new(api.api(user), "kube-scheduler");
    let metrics = kontiki_scheduler::Metrics::default();
    metrics.register(registry);
    let scheduler = Arc::new(Scheduler::new(
        client.clone(),
        kontiki_scheduler::Config::default(),
        metrics,
        Clock::system(),
        rand::random(),
        cancel,
    ));
    let elector = elector(config, &client, "kube-scheduler", store);
    let cancel = cancel.clone();
    tasks.spawn(async move {
        let lead = |term: CancellationToken| {
            let scheduler = scheduler.clone();
            async move { scheduler.lead(term).await }
        };
        elector.run(cancel, lead).await;
    });
}

fn start_controllers(
    config: &ServerConfig,
    api: &ApiServer,
    store: &Arc<ReplicatedStore>,
    certificates: &Certificates,
    registry: &mut Registry,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) {
    let metrics = QueueMetrics::default();
    metrics.register(registry);
    let authority = certificates.secrets().cluster.clone();
    let controllers = kontiki_controllers::Config {
        cluster_cidr: config.cluster_cidr.to_string(),
        root_ca_pem: authority.certificate_pem().to_owned(),
        signer: Some(Arc::new(CertificateSigner(authority))),
        ..kontiki_controllers::Config::new(served_resources(api, tasks, cancel))
    };
    let client = manager_client(api);
    let manager = Arc::new(ControllerManager::new(
        client.clone(),
        account_clients(api),
        controllers,
        config.name.clone(),
        Clock::system(),
        metrics,
        cancel.clone(),
    ));
    let elector = elector(config, &client, "kube-controller-manager", store);
    let cancel = cancel.clone();
    tasks.spawn(async move {
        let lead = |term: CancellationToken| {
            let manager = manager.clone();
            async move { manager.run(term).await }
        };
        elector.run(cancel, lead).await;
    });
}

/// What the controllers' caches and the election go through.
fn manager_client(api: &ApiServer) -> Client {
    let user = UserInfo::new(CONTROLLER_MANAGER, &[]).with_authenticated_group();
    Client::new(api.api(user), "kube-controller-manager")
}

/// What each controller acts through: its own service account, which has just
/// the rights of its role in the bootstrap policy.
fn account_clients(api: &ApiServer) -> Arc<dyn ClientBuilder> {
    let api = api.clone();
    Arc::new(move |account: &str| {
        let user = UserInfo::service_account(SYSTEM_NAMESPACE, account, "");
        let user = user.with_authenticated_group();
        Client::new(api.api(user), "kube-controller-manager")
    })
}

/// Every resource that is served; custom resources come and go at run time.
fn served_resources(
    api: &ApiServer,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) -> watch::Receiver<Arc<[ServedResource]>> {
    let catalog = api.registry().catalog().clone();
    let mut changes = catalog.changes();
    let (sender, receiver) = watch::channel(resources_of(&catalog));
    let cancel = cancel.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            sender.send_replace(resources_of(&catalog));
        }
    });
    receiver
}

fn resources_of(catalog: &Catalog) -> Arc<[ServedResource]> {
    let kinds = catalog.kinds();
    let served = kinds
        .iter()
        .filter(|kind| kind.storage.is_some())
        .map(|kind| ServedResource {
            resource: GroupVersionResource {
                group: kind.group.clone(),
                version: kind.version.clone(),
                resource: kind.plural.clone(),
            },
            kind: kind.kind.to_string(),
            namespaced: kind.namespaced,
            watchable: kind.verbs.iter().any(|verb| verb == "watch"),
            deletable: kind.verbs.iter().any(|verb| verb == "delete"),
        });
    served.collect()
}

/// Signs the requests that the controllers approve.
struct CertificateSigner(Authority);

const LIFETIME_DEFAULT: Duration = Duration::from_secs(365 * 24 * 3600);

#[async_trait]
impl Signer for CertificateSigner {
    async fn sign(&self, request: SignRequest) -> Result<Vec<u8>, String> {
        let text =
            String::from_utf8(request.csr_pem).map_err(|_| "the request is not PEM".to_owned())?;
        let parsed = CertificateRequest::from_pem(&text).map_err(|error| error.to_string())?;
        let usages = Usages::parse(request.usages.iter().map(String::as_str))
            .map_err(|error| error.to_string())?;
        let lifetime = request
            .expiration
            .unwrap_or(LIFETIME_DEFAULT)
            .min(LIFETIME_DEFAULT);
        let lifetime = SignedDuration::try_from(lifetime).map_err(|error| error.to_string())?;
        let policy = SigningPolicy { usages, lifetime };
        let signed = self.0.sign(&parsed, &policy, jiff::Timestamp::now());
        signed
            .map(String::into_bytes)
            .map_err(|error| error.to_string())
    }

    fn subject(&self, csr_pem: &[u8]) -> Result<(String, Vec<String>), String> {
        let text = std::str::from_utf8(csr_pem).map_err(|_| "the request is not PEM".to_owned())?;
        let parsed = CertificateRequest::from_pem(text).map_err(|error| error.to_string())?;
        Ok((parsed.common_name, parsed.organizations))
    }
}

#[cfg(test)]
mod tests;

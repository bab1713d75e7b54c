//! What the controllers are told at start.

use async_trait::async_trait;
use kontiki_object::GroupVersionResource;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A resource that the server serves, in its preferred version only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedResource {
    /// Its name.
    pub resource: GroupVersionResource,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has `list` and `watch`.
    pub watchable: bool,
    /// Whether it has `delete`.
    pub deletable: bool,
}

impl ServedResource {
    /// Whether its objects are followed by those who follow everything. Events
    /// are not: they own nothing, nothing owns them, and there are many.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.watchable && self.deletable && self.resource.resource != "events"
    }
}

/// A certificate to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// The request as PEM.
    pub csr_pem: Vec<u8>,
    /// The signer's name, for instance `kubernetes.io/kubelet-serving`.
    pub signer_name: String,
    /// The key usages that were asked for.
    pub usages: Vec<String>,
    /// How long it was asked to be valid.
    pub expiration: Option<Duration>,
}

/// Holds the key that signs certificates.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// The chain as PEM.
    ///
    /// # Errors
    /// A sentence for the request's `Failed` condition, if it cannot be signed.
    async fn sign(&self, request: SignRequest) -> Result<Vec<u8>, String>;

    /// Common name and organizations of a request's subject.
    ///
    /// # Errors
    /// A sentence, if the request cannot be read.
    fn subject(&self, csr_pem: &[u8]) -> Result<(String, Vec<String>), String>;
}

/// What the controllers are told at start.
#[derive(Clone)]
pub struct Config {
    /// From which nodes' pod ranges are cut, for instance `10.244.0.0/16`; empty
    /// if another component does that.
    pub cluster_cidr: String,
    /// The prefix length of a node's pod range.
    pub node_cidr_mask: u8,
    /// The certificates that pods trust the API server by.
    pub root_ca_pem: String,
    /// Signs certificate requests; without one they wait.
    pub signer: Option<Arc<dyn Signer>>,
    /// Every resource that is served now; follows custom resources.
    pub resources: watch::Receiver<Arc<[ServedResource]>>,
    /// How long a silent node is still taken for ready.
    pub node_monitor_grace_period: Duration,
    /// Tainting of silent nodes for eviction, per second and zone, while most of
    /// the zone is healthy.
    pub node_eviction_rate: f64,
    /// The same, while a zone of some size is mostly silent.
    pub secondary_node_eviction_rate: f64,
    /// Terminated pods beyond this number are deleted; 0 for no limit.
    pub terminated_pod_gc_threshold: usize,
    /// Keys of one controller that are worked on at the same time.
    pub workers: usize,
}

impl Config {
    /// Upstream's defaults, for a set of served resources.
    #[must_use]
    pub fn new(resources: watch::Receiver<Arc<[ServedResource]>>) -> Self {
        Self {
            cluster_cidr: "10.244.0.0/16".into(),
            node_cidr_mask: 24,
            root_ca_pem: String::new(),
            signer: None,
            resources,
            node_monitor_grace_period: Duration::from_secs(50),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            terminated_pod_gc_threshold: 12_500,
            workers: 5,
        }
    }
}

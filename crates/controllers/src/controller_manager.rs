//! All controllers together.

use crate::controller::Context;
use crate::runner::Runner;
use crate::{Caches, Config, Executor, Target, list};
use kontiki_client::events::{EventShape, EventSource};
use kontiki_client::{Client, Clock, EventRecorder, QueueMetrics};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Makes clients that act as a service account in `kube-system`.
pub trait ClientBuilder: Send + Sync + 'static {
    /// One for the account of this name.
    fn client(&self, service_account: &str) -> Client;
}

impl<F: Fn(&str) -> Client + Send + Sync + 'static> ClientBuilder for F {
    fn client(&self, service_account: &str) -> Client {
        self(service_account)
    }
}

/// All controllers of a process.
///
/// The caches follow the API server from the start, leading or not; the
/// controllers reconcile only inside [`ControllerManager::run`].
///
/// **Invariant:** the manager's own client only lists and watches; whatever a
/// controller reads or writes beyond the caches, it does as its own account.
pub struct ControllerManager {
    context: Context,
    clients: Arc<dyn ClientBuilder>,
    metrics: QueueMetrics,
    identity: String,
}

impl ControllerManager {
    /// Starts the caches, which `client` fills; they live until `cancel` is
    /// cancelled. `clients` gives each controller its own identity; `identity`
    /// is the name under which the process stands for election.
    #[must_use]
    pub fn new(
        client: Client,
        clients: Arc<dyn ClientBuilder>,
        config: Config,
        identity: impl Into<String>,
        clock: Clock,
        metrics: QueueMetrics,
        cancel: CancellationToken,
    ) -> Self {
        let caches = Arc::new(Caches::new(client.clone(), cancel));
        let context = Context {
            caches,
            client,
            config: Arc::new(config),
            clock,
        };
        let this = Self {
            context,
            clients,
            metrics,
            identity: identity.into(),
        };
        this.warm();
        this
    }

    /// Opens every cache that a controller will read.
    fn warm(&self) {
        for controller in list::all() {
            for watch in controller.watches() {
                match watch.target {
                    Target::One(resource) => drop(self.context.caches.informer(&resource)),
                    Target::All => {
                        let served = self.context.config.resources.borrow().clone();
                        for served in served.iter().filter(|r| r.is_followed()) {
                            drop(self.context.caches.informer(&served.resource));
                        }
                    }
                }
            }
        }
    }

    /// The shared caches.
    #[must_use]
    pub fn caches(&self) -> &Arc<Caches> {
        &self.context.caches
    }

    /// Reconciles until `cancel` is cancelled: what the leader does.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut runners = JoinSet::new();
        for controller in list::all() {
            let account = list::service_account(controller.name());
            let client = self.clients.client(account);
            let events = EventRecorder::start(
                client.clone(),
                EventSource::new(list::event_source(controller.name()), "", EventShape::Core),
                self.context.clock.clone(),
                cancel.clone(),
            );
            let executor = Executor::new(client.clone(), events);
            let context = Context {
                client,
                ..self.context.clone()
            };
            let runner = Runner::new(controller, context, executor, &self.metrics);
            runners.spawn(runner.run(cancel.clone()));
        }
        tracing::info!(identity = %self.identity, controllers = runners.len(), "controllers run");
        while runners.join_next().await.is_some() {}
    }
}

//! Keeping a node's network as the Node objects want it.

use crate::cni;
use crate::kernel::{self, KernelError};
use crate::plan::{self, Route};
use ipnet::Ipv4Net;
use kontiki_client::ObjectCache;
use kontiki_object::SharedObject;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// What a node's network is told.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// This node.
    pub node_name: String,
    /// Where all pods of the cluster get their addresses from.
    pub cluster_cidr: Ipv4Net,
    /// Where the runtime looks for CNI configurations.
    pub cni_conf_dir: PathBuf,
    /// Where host-local remembers which address is whose.
    pub ipam_dir: PathBuf,
    /// Whether host ports are forwarded by the `portmap` plugin, which needs iptables.
    pub portmap: bool,
}

/// Why the network could not be brought into the wanted state.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A tool failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The CNI configuration could not be written.
    #[error("cannot write the CNI configuration to {dir}: {source}")]
    Cni {
        /// The folder.
        dir: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// A slow repair, for what somebody else changed in the kernel.
const RESYNC: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(2);

/// The network of one node.
pub struct Network {
    config: NetworkConfig,
    nodes: Arc<ObjectCache>,
    masqueraded: Option<Ipv4Net>,
}

impl Network {
    /// A network that follows `nodes`.
    #[must_use]
    pub fn new(config: NetworkConfig, nodes: Arc<ObjectCache>) -> Self {
        Self {
            config,
            nodes,
            masqueraded: None,
        }
    }

    /// Follows the Node objects until `cancel` is cancelled. What was made stays:
    /// running pods need it.
    pub async fn run(mut self, cancel: CancellationToken) {
        for (name, error) in kernel::sysctls() {
            tracing::warn!(name, %error, "a kernel switch could not be set; load its module or set it by hand");
        }
        let mut changes = self.nodes.subscribe();
        loop {
            // Many changes at once are one.
            while changes.try_recv().is_ok() {}
            let pause = match self.sync().await {
                Ok(()) => RESYNC,
                Err(error) => {
                    tracing::warn!(%error, "the pod network is not as it should be, will try again");
                    RETRY
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = relevant(&mut changes) => {}
            }
        }
    }

    /// Brings the network into the wanted state once.
    ///
    /// # Errors
    /// If a tool fails or a file cannot be written.
    pub async fn sync(&mut self) -> Result<(), NetworkError> {
        let nodes = self.nodes.list();
        let own = nodes
            .iter()
            .find(|node| node.name() == self.config.node_name);
        let Some((pods, address)) = own.and_then(|node| own_network(node)) else {
            // The controller has not given this node its network yet.
            return Ok(());
        };
        self.configure_pods(pods).await?;
        let mut wanted = BTreeSet::new();
        for peer in plan::peers(nodes.iter().map(|node| &**node), &self.config.node_name) {
            let on_link = kernel::is_on_link(peer.address).await?;
            wanted.insert(if on_link {
                Route::Direct(peer)
            } else {
                Route::Vxlan(peer)
            });
        }
        if wanted.iter().any(|route| matches!(route, Route::Vxlan(_))) {
            kernel::ensure_device(address, pods).await?;
        }
        let (remove, add) = plan::difference(&kernel::present().await?, &wanted);
        for route in &remove {
            tracing::info!(pods = %route.peer().pods, via = %route.peer().address, "route to a node's pods removed");
            kernel::remove(route).await?;
        }
        for route in &add {
            tracing::info!(pods = %route.peer().pods, via = %route.peer().address, "route to a node's pods added");
            kernel::add(route).await?;
        }
        Ok(())
    }

    async fn configure_pods(&mut self, pods: Ipv4Net) -> Result<(), NetworkError> {
        if self.masqueraded != Some(pods) {
            kernel::masquerade(pods, self.config.cluster_cidr).await?;
            self.masqueraded = Some(pods);
        }
        // Last: from here on the runtime starts pods.
        let conflist = cni::conflist(pods, &self.config.ipam_dir, self.config.portmap);
        cni::write(&self.config.cni_conf_dir, &conflist).map_err(|source| NetworkError::Cni {
            dir: self.config.cni_conf_dir.display().to_string(),
            source,
        })
    }
}

fn own_network(node: &SharedObject) -> Option<(Ipv4Net, Ipv4Addr)> {
    Some((
        plan::pod_cidr(node)?,
        plan::internal_ip(node).unwrap_or(Ipv4Addr::UNSPECIFIED),
    ))
}

/// Waits for a change that matters here: heartbeats change nodes all the time.
async fn relevant(changes: &mut tokio::sync::mpsc::UnboundedReceiver<kontiki_client::Delta>) {
    let facts = |node: &Option<SharedObject>| {
        node.as_ref()
            .map(|node| (plan::pod_cidr(node), plan::internal_ip(node)))
    };
    while let Some(delta) = changes.recv().await {
        if facts(&delta.old) != facts(&delta.new) {
            return;
        }
    }
    // The feed has ended with the process.
    std::future::pending().await
}

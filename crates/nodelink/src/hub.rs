//! Where a server finds the nodes: those whose streams it holds, and, through
//! the other servers, the rest.

use crate::channel;
use crate::proto::{
    Kubelet, TunnelTarget, node_link_client::NodeLinkClient, tunnel_target::Target,
};
use crate::tunnel::Tunnels;
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

/// Where a connection into a node goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTarget {
    /// The kubelet's HTTP API.
    Kubelet,
    /// `host:port` as seen from the node, for instance a pod's address.
    Tcp(String),
}

/// Why a node could not be reached.
#[derive(Debug, Error)]
pub enum DialError {
    /// No server holds the node's stream.
    #[error(
        "node {0:?} is not connected to any server: is its agent running, and can it reach the servers?"
    )]
    NotConnected(String),
    /// The node refused, or its stream broke.
    #[error("node {node:?}: {source}")]
    Failed {
        /// The node.
        node: String,
        /// What the node or the stream said.
        source: std::io::Error,
    },
}

/// The nodes that are connected, here or to another server.
#[derive(Clone, Default)]
pub struct NodeHub {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<HashMap<String, (u64, Tunnels)>>,
    peers: Mutex<Peers>,
}

#[derive(Default)]
struct Peers {
    addresses: Vec<String>,
    tls: Option<Arc<ClientConfig>>,
}

/// Names the node in the metadata of a relay.
pub(crate) const NODE_METADATA: &str = "kontiki-node";
/// Time for another server to say that it does not hold a node's stream.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);

impl NodeHub {
    /// Tells where the other servers are (`host:port`) and how to identify to them.
    pub fn set_peers(&self, addresses: Vec<String>, tls: Arc<ClientConfig>) {
        *self.shared.peers.lock() = Peers {
            addresses,
            tls: Some(tls),
        };
    }

    /// The nodes whose streams this server holds.
    #[must_use]
    pub fn connected(&self) -> Vec<String> {
        let mut names: Vec<String> = self.shared.nodes.lock().keys().cloned().collect();
        names.sort();
        names
    }

    /// Opens a connection into a node, through whichever server holds its stream.
    ///
    /// # Errors
    /// If no server holds it, or the node could not reach the target.
    pub async fn dial(&self, node: &str, target: DialTarget) -> Result<DuplexStream, DialError> {
        if let Some(tunnels) = self.local(node) {
            return Self::open(node, &tunnels, target).await;
        }
        let (addresses, tls) = {
            let peers = self.shared.peers.lock();
            (peers.addresses.clone(), peers.tls.clone())
        };
        let Some(tls) = tls else {
            return Err(DialError::NotConnected(node.to_owned()));
        };
        let attempts = addresses.into_iter().map(|address| {
            let (tls, target) = (tls.clone(), target.clone());
            Box::pin(async move { relay(&address, tls, node, target).await.ok_or(()) })
        });
        // All at once: a server that is down must not delay the one that knows.
        match futures::future::select_ok(attempts.collect::<Vec<_>>()).await {
            Ok((answer, _)) => answer,
            Err(()) => Err(DialError::NotConnected(node.to_owned())),
        }
    }

    pub(crate) fn local(&self, node: &str) -> Option<Tunnels> {
        self.shared
            .nodes
            .lock()
            .get(node)
            .map(|(_, tunnels)| tunnels.clone())
    }

    pub(crate) async fn open(
        node: &str,
        tunnels: &Tunnels,
        target: DialTarget,
    ) -> Result<DuplexStream, DialError> {
        let failed = |source| DialError::Failed {
            node: node.to_owned(),
            source,
        };
        tunnels.open(wire_target(target)).await.map_err(failed)
    }

    /// Enters a node's stream; a node that connects again replaces its old one.
    pub(crate) fn enter(&self, node: &str, stream: u64, tunnels: Tunnels) {
        let old = self
            .shared
            .nodes
            .lock()
            .insert(node.to_owned(), (stream, tunnels));
        if let Some((_, old)) = old {
            old.reset_all();
        }
    }

    /// Forgets a stream, unless a newer one has taken its place.
    pub(crate) fn leave(&self, node: &str, stream: u64) {
        let mut nodes = self.shared.nodes.lock();
        if nodes.get(node).is_some_and(|(id, _)| *id == stream)
            && let Some((_, tunnels)) = nodes.remove(node)
        {
            tunnels.reset_all();
        }
    }
}

fn wire_target(target: DialTarget) -> TunnelTarget {
    let target = match target {
        DialTarget::Kubelet => Target::Kubelet(Kubelet {}),
        DialTarget::Tcp(address) => Target::Tcp(address),
    };
    TunnelTarget {
        target: Some(target),
    }
}

/// `None`: this peer cannot help; else what came of the node it knows.
async fn relay(
    address: &str,
    tls: Arc<ClientConfig>,
    node: &str,
    target: DialTarget,
) -> Option<Result<DuplexStream, DialError>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .ok()?
        .connect_timeout(RELAY_TIMEOUT);
    let channel = tokio::time::timeout(RELAY_TIMEOUT, channel::connect(endpoint, tls))
        .await
        .ok()?
        .ok()?;
    let (frames, outgoing) = mpsc::channel(64);
    let tunnels = Tunnels::new(frames);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut request = tonic::Request::new(outgoing);
    request
        .metadata_mut()
        .insert(NODE_METADATA, node.parse().ok()?);
    let mut client = NodeLinkClient::new(channel);
    let answer = tokio::time::timeout(RELAY_TIMEOUT, client.relay(request))
        .await
        .ok()?;
    let mut stream = answer.ok()?.into_inner();
    let demux = tunnels.clone();
    tokio::spawn(async move {
        while let Ok(Some(frame)) = stream.message().await {
            demux.deliver(frame);
        }
        demux.reset_all();
    });
    Some(NodeHub::open(node, &tunnels, target).await)
}

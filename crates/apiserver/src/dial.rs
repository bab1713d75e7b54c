//! The way from a server to what only nodes can reach.

use async_trait::async_trait;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// What to reach on or from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTarget {
    /// The kubelet's HTTP API, in plaintext inside the tunnel.
    Kubelet,
    /// `host:port` as seen from the node, for instance a pod's address.
    Tcp(String),
}

/// Both directions of a connection.
pub trait AsyncReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> AsyncReadWrite for T {}

/// Opens connections into nodes.
#[async_trait]
pub trait NodeDialer: Send + Sync + 'static {
    /// Opens one.
    async fn dial(&self, node: &str, target: DialTarget) -> io::Result<Box<dyn AsyncReadWrite>>;
}

/// No way to any node: for servers without agents.
pub struct NoNodes;

#[async_trait]
impl NodeDialer for NoNodes {
    async fn dial(&self, node: &str, _target: DialTarget) -> io::Result<Box<dyn AsyncReadWrite>> {
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            format!("node {node:?} is not connected to this server"),
        ))
    }
}

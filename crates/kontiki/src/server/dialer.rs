//! The API server's way into nodes: the tunnels of `NodeLink`.

use async_trait::async_trait;
use kontiki_apiserver::{AsyncReadWrite, DialTarget, NodeDialer};
use kontiki_nodelink::{DialError, NodeHub};
use std::io;

/// Dials through whichever server holds the node's stream.
pub struct HubDialer(pub NodeHub);

#[async_trait]
impl NodeDialer for HubDialer {
    async fn dial(&self, node: &str, target: DialTarget) -> io::Result<Box<dyn AsyncReadWrite>> {
        let target = match target {
            DialTarget::Kubelet => kontiki_nodelink::DialTarget::Kubelet,
            DialTarget::Tcp(address) => kontiki_nodelink::DialTarget::Tcp(address),
        };
        match self.0.dial(node, target).await {
            Ok(io) => Ok(Box::new(io)),
            Err(error @ DialError::NotConnected(_)) => {
                Err(io::Error::new(io::ErrorKind::NotConnected, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

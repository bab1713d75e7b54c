//! The WebSocket subprotocols of `exec`, `attach` and `port-forward`.
//!
//! Newer users speak WebSocket, the kubelet speaks SPDY/3.1: [`bridge_websocket`]
//! and [`bridge_port_forward`] translate, [`tunnel_websocket`] unwraps SPDY that
//! a user packed into messages.

mod bridge;
mod channel;
mod port_forward;
mod tunnel;

pub use bridge::{BridgeOptions, bridge_websocket};
pub use channel::{ChannelProtocol, EXEC_PROTOCOLS, PORT_FORWARD_PROTOCOLS, TUNNEL_PROTOCOL};
pub use port_forward::bridge_port_forward;
pub use tunnel::tunnel_websocket;

/// Why a bridge ended other than by the end of its streams.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// Towards the user.
    #[error("the WebSocket connection failed: {0}")]
    WebSocket(#[from] axum::Error),
    /// Towards the kubelet.
    #[error(transparent)]
    Session(#[from] crate::spdy::SessionError),
    /// Towards the kubelet, as bytes.
    #[error("the connection to the kubelet failed: {0}")]
    Io(#[from] std::io::Error),
    /// The user sent what the subprotocol does not know.
    #[error("the WebSocket client sent {0}")]
    Protocol(&'static str),
}

#[cfg(test)]
mod tests;

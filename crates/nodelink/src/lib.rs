//! NodeLink: one mutually authenticated gRPC stream between a node agent and
//! whichever server it has found.
//!
//! - [`agent`] dials, keeps the stream, and offers the node's [`NodeView`], an
//!   [`kontiki_client::Api`] for the node's own writes, and tunnels into the kubelet.
//! - [`server`] answers: it feeds each node exactly the objects it needs, carries
//!   out its calls under its own identity, and lets the API server [`dial`](NodeHub::dial)
//!   into a node whichever server holds that node's stream.
//! - [`tunnel`] multiplexes byte streams with flow control of their own.
//!
//! **Invariant:** a lost stream loses nothing: the view stays as it was, tells
//! the next server what it holds, and takes only differences.

pub mod agent;
pub mod channel;
mod feed;
mod hub;
pub mod server;
pub mod tunnel;
mod view;
mod wire;

pub use hub::{DialError, DialTarget, NodeHub};
pub use view::NodeView;

/// The generated protocol.
pub mod proto {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::unwrap_used,
        reason = "generated code"
    )]
    tonic::include_proto!("kontiki.nodelink.v1");
}

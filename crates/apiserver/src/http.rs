//! The wire: from an HTTP request to the registry and back.
//!
//! Order of a request: audit id, limits, [`request_info`], authentication,
//! impersonation, authorization, then health, discovery or a resource.

mod body;
mod discovery;
mod encode;
mod handler;
mod health;
mod negotiate;
mod options;
mod query;
pub mod request_info;
mod resource;
mod serve;
mod table;
mod watch;
mod yaml;

pub use discovery::Documents;
pub use handler::{Call, handle};
pub use request_info::RequestInfo;
pub use serve::{Peer, ServeConfig, serve};

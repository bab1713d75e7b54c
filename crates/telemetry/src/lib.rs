//! Logs and traces: how a process tells what it does.
//!
//! Logs are text for people or JSON for machines. Traces go to an OpenTelemetry
//! collector when an endpoint is configured; one trace follows a request from
//! HTTP through Raft to apply, carried between processes as a W3C `traceparent`.
//!
//! **Invariant:** nothing here sees a request's body or a credential.

mod context;
mod setup;

pub use context::{current_traceparent, set_parent};
pub use setup::{LogFormat, Telemetry, TelemetryConfig, TelemetryError};

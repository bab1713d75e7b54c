//! What servers and the load generator used for a piece of work.

use crate::figures::Spread;
use crate::usage;
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a piece of work showed.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Operations a second.
    pub per_second: f64,
    /// How long they took.
    pub latency: Spread,
    /// Processor time of all servers for an operation, in microseconds.
    pub server_us: f64,
    /// Processor time of the load generator for an operation, in microseconds.
    pub client_us: f64,
    /// Resident memory of the largest server afterwards, in bytes.
    pub resident_bytes: u64,
}

/// The servers' processes.
pub trait Servers {
    /// The processor time that all of them have used.
    ///
    /// # Errors
    /// If one has ended.
    fn cpu(&self) -> Result<Duration>;

    /// The resident memory of the largest, in bytes.
    ///
    /// # Errors
    /// If one has ended.
    fn resident_bytes(&self) -> Result<u64>;
}

/// Processor times at the start of an interval.
pub struct Interval<'a, S> {
    servers: &'a S,
    started: Instant,
    server: Duration,
    client: Duration,
}

impl<'a, S: Servers> Interval<'a, S> {
    /// Begins now.
    ///
    /// # Errors
    /// If a server has ended.
    pub fn start(servers: &'a S) -> Result<Self> {
        Ok(Self {
            servers,
            started: Instant::now(),
            server: servers.cpu()?,
            client: usage::own_cpu_time()?,
        })
    }

    /// Ends now, after `operations` that took `latencies`.
    ///
    /// # Errors
    /// If a server has ended.
    pub fn end(self, operations: u64, latencies: &[Duration]) -> Result<Measured> {
        let seconds = self.started.elapsed().as_secs_f64();
        let server = self.servers.cpu()?.saturating_sub(self.server);
        let client = usage::own_cpu_time()?.saturating_sub(self.client);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = operations.max(1) as f64;
        Ok(Measured {
            per_second: count / seconds,
            latency: Spread::of(latencies),
            server_us: server.as_secs_f64() * 1e6 / count,
            client_us: client.as_secs_f64() * 1e6 / count,
            resident_bytes: self.servers.resident_bytes()?,
        })
    }
}

//! Closed loops of clients, and what they saw.

use super::members::Members;
use crate::figures::Spread;
use crate::usage;
use anyhow::Result;
use etcd_client::Client;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients that share a connection.
const CLIENTS_PER_CONNECTION: usize = 10;
const WARM_UP: Duration = Duration::from_secs(1);

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What one round of a workload showed.
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
    /// Resident memory of the largest member afterwards, in bytes.
    pub resident_bytes: u64,
}

/// Processor times at the start of an interval.
pub struct Interval<'a> {
    members: &'a Members,
    started: Instant,
    server: Duration,
    client: Duration,
}

impl<'a> Interval<'a> {
    /// Begins now.
    pub fn start(members: &'a Members) -> Result<Self> {
        Ok(Self {
            members,
            started: Instant::now(),
            server: members.cpu()?,
            client: usage::own_cpu_time()?,
        })
    }

    /// Ends now, after `operations` that took `latencies`.
    pub fn end(self, operations: u64, latencies: &[Duration]) -> Result<Measured> {
        let seconds = self.started.elapsed().as_secs_f64();
        let server = self.members.cpu()?.saturating_sub(self.server);
        let client = usage::own_cpu_time()?.saturating_sub(self.client);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = operations.max(1) as f64;
        Ok(Measured {
            per_second: count / seconds,
            latency: Spread::of(latencies),
            server_us: server.as_secs_f64() * 1e6 / count,
            client_us: client.as_secs_f64() * 1e6 / count,
            resident_bytes: self.members.resident_bytes()?,
        })
    }
}

/// Connections for so many clients.
pub async fn connect(endpoint: &str, clients: usize) -> Result<Vec<Client>> {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
        connections.push(Client::connect([endpoint], None).await?);
    }
    Ok((0..clients)
        .map(|at| connections[at % connections.len()].clone())
        .collect())
}

/// Has each client do `operation(client, number of the client, number of the
/// operation)` over and over, for `interval` after a warm-up.
pub async fn closed_loop<O, F>(
    members: &Members,
    clients: usize,
    interval: Duration,
    operation: O,
) -> Result<Measured>
where
    O: Fn(Client, usize, u64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut tasks = JoinSet::new();
    for (number, client) in connect(members.leader(), clients)
        .await?
        .into_iter()
        .enumerate()
    {
        let (phase, operation) = (phase.clone(), operation.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut turn = 0;
            loop {
                let before = phase.load(Ordering::Relaxed);
                if before == OVER {
                    return anyhow::Ok(latencies);
                }
                let started = Instant::now();
                operation(client.clone(), number, turn).await?;
                turn += 1;
                if before == MEASURING {
                    latencies.push(started.elapsed());
                }
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let measuring = Interval::start(members)?;
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(interval).await;
    phase.store(OVER, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let operations = u64::try_from(latencies.len())?;
    measuring.end(operations, &latencies)
}

/// The round whose server cost is in the middle.
pub fn median(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by(|a, b| a.server_us.total_cmp(&b.server_us));
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}

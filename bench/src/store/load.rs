//! Closed loops of clients, and what they saw.

use super::members::Members;
use crate::measured::{Interval, Measured};
use anyhow::Result;
use etcd_client::Client;
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

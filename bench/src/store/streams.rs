//! Watches and leases.

use super::load;
use super::members::Members;
use crate::measured::{Interval, Measured};
use anyhow::{Context, Result, bail};
use etcd_client::{Client, WatchOptions, WatchStream};
use std::time::Instant;
use tokio::task::JoinSet;

const FAN_CONNECTIONS: usize = 10;
const FAN_STREAMS: usize = 10;
const FAN_WATCHES: usize = 100;
const FAN_PUTS: usize = 200;
const DISTINCT_WATCHES: usize = 10_000;
const LEASES: usize = 100_000;
const LEASE_CLIENTS: usize = 100;
const LEASE_TTL_SECONDS: i64 = 3600;
const VALUE_BYTES: usize = 100;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    FanOut,
    Distinct,
    Leases,
}

impl Workload {
    /// Its name in the table.
    pub fn name(self) -> String {
        match self {
            Self::FanOut => format!(
                "watch events, {FAN_CONNECTIONS} x {FAN_STREAMS} x {FAN_WATCHES} watchers of one key"
            ),
            Self::Distinct => format!("watch events, {DISTINCT_WATCHES} watchers of distinct keys"),
            Self::Leases => format!("keep-alives of {LEASES} leases, {LEASE_CLIENTS} clients"),
        }
    }
}

/// All of them.
pub fn all() -> [Workload; 3] {
    [Workload::FanOut, Workload::Distinct, Workload::Leases]
}

/// One round.
pub async fn measure(members: &Members, workload: &Workload) -> Result<Measured> {
    match workload {
        Workload::FanOut => fan_out(members).await,
        Workload::Distinct => distinct(members).await,
        Workload::Leases => leases(members).await,
    }
}

/// Opens a stream with a watch on each of the keys, and waits until all stand.
async fn watch(mut client: Client, keys: Vec<String>) -> Result<WatchStream> {
    let mut keys = keys.into_iter();
    let first = keys.next().context("a stream watches something")?;
    let mut stream = client.watch(first, None).await?;
    created(&mut stream).await?;
    for key in keys {
        stream.watch(key, None::<WatchOptions>).await?;
        created(&mut stream).await?;
    }
    Ok(stream)
}

async fn created(stream: &mut WatchStream) -> Result<()> {
    match stream.message().await? {
        Some(message) if message.created() && !message.canceled() => Ok(()),
        other => bail!("a watch was not created: {other:?}"),
    }
}

/// Reads so many events.
async fn receive(mut stream: WatchStream, events: usize) -> Result<()> {
    let mut seen = 0;
    while seen < events {
        let message = stream.message().await?.context("a watch ended")?;
        seen += message.events().len();
    }
    Ok(())
}

async fn all_of(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn fan_out(members: &Members) -> Result<Measured> {
    let mut readers = JoinSet::new();
    for connection in 0..FAN_CONNECTIONS {
        let client = Client::connect([members.leader()], None).await?;
        for stream in 0..FAN_STREAMS {
            let keys = vec!["fan".to_owned(); FAN_WATCHES];
            let stream = watch(client.clone(), keys)
                .await
                .with_context(|| format!("connection {connection}, stream {stream}"))?;
            readers.spawn(receive(stream, FAN_WATCHES * FAN_PUTS));
        }
    }
    let mut client = Client::connect([members.leader()], None).await?;
    let interval = Interval::start(members)?;
    let mut latencies = Vec::new();
    for _ in 0..FAN_PUTS {
        let started = Instant::now();
        client.put("fan", vec![b'v'; VALUE_BYTES], None).await?;
        latencies.push(started.elapsed());
    }
    all_of(readers).await?;
    let events = FAN_CONNECTIONS * FAN_STREAMS * FAN_WATCHES * FAN_PUTS;
    interval.end(u64::try_from(events)?, &latencies)
}

async fn distinct(members: &Members) -> Result<Measured> {
    let mut readers = JoinSet::new();
    let clients = load::connect(members.leader(), 100).await?;
    let each = DISTINCT_WATCHES / clients.len();
    for (number, client) in clients.iter().enumerate() {
        let keys = (0..each).map(|at| format!("own/{number}/{at}")).collect();
        readers.spawn(receive(watch(client.clone(), keys).await?, each));
    }
    let interval = Interval::start(members)?;
    let mut writers = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        writers.spawn(async move {
            for at in 0..each {
                let key = format!("own/{number}/{at}");
                client.put(key, vec![b'v'; VALUE_BYTES], None).await?;
            }
            Ok(())
        });
    }
    all_of(writers).await?;
    all_of(readers).await?;
    interval.end(u64::try_from(DISTINCT_WATCHES)?, &[])
}

async fn leases(members: &Members) -> Result<Measured> {
    let clients = load::connect(members.leader(), LEASE_CLIENTS).await?;
    let each = LEASES / LEASE_CLIENTS;
    let mut granting = JoinSet::new();
    for mut client in clients.clone() {
        granting.spawn(async move {
            let mut ids = Vec::with_capacity(each);
            for _ in 0..each {
                ids.push(client.lease_grant(LEASE_TTL_SECONDS, None).await?.id());
            }
            anyhow::Ok((client, ids))
        });
    }
    let mut granted = Vec::new();
    while let Some(ended) = granting.join_next().await {
        granted.push(ended??);
    }
    let ids: Vec<i64> = granted.iter().flat_map(|(_, ids)| ids).copied().collect();
    let interval = Interval::start(members)?;
    let mut keeping = JoinSet::new();
    for (client, ids) in granted {
        keeping.spawn(keep_alive(client, ids));
    }
    all_of(keeping).await?;
    let measured = interval.end(u64::try_from(LEASES)?, &[])?;
    revoke(clients, ids).await?;
    Ok(measured)
}

/// etcd's Rust client has a stream for each lease; the first answer comes with it.
async fn keep_alive(client: Client, ids: Vec<i64>) -> Result<()> {
    let mut client = client.lease_client();
    for id in ids {
        client.keep_alive(id).await?;
    }
    Ok(())
}

async fn revoke(clients: Vec<Client>, ids: Vec<i64>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let each = ids.len().div_ceil(clients.len());
    for (mut client, ids) in clients.into_iter().zip(ids.chunks(each)) {
        let ids = ids.to_vec();
        tasks.spawn(async move {
            for id in ids {
                client.lease_revoke(id).await?;
            }
            Ok(())
        });
    }
    all_of(tasks).await
}

//! Many keys: how fast they go in, what they cost, how soon a restart serves
//! them, how long a snapshot takes.

use super::Plan;
use super::load;
use super::members::{Members, Product};
use crate::figures::Spread;
use crate::measured::{Interval, Measured, Servers as _};
use anyhow::Result;
use etcd_client::{Client, GetOptions};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

/// The name of these rows, for `--only`.
pub const NAME: &str = "bulk";
const VALUE_BYTES: usize = 32;

/// The rows of one product, by name.
pub async fn measure(
    product: &Product,
    directory: &Path,
    plan: &Plan,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Vec<(String, Measured)>> {
    let keys = plan.bulk_keys;
    let directory = directory.join(NAME);
    let mut members = Members::start(product, &directory).await?;
    note(&format!("{keys} keys: {}", product.name));
    let mut rows = vec![(
        format!("bulk: put of {keys} small keys, {} clients", plan.clients),
        load(&members, keys, plan.clients).await?,
    )];
    members.stop();
    note(&format!("{keys} keys, restart: {}", product.name));
    let took = members.resume().await?;
    rows.push((
        format!("bulk: all restarted with {keys} keys"),
        once(&members, took)?,
    ));
    note(&format!("{keys} keys, snapshot: {}", product.name));
    let interval = Interval::start(&members)?;
    let started = std::time::Instant::now();
    snapshot(&members).await?;
    rows.push((
        format!("bulk: snapshot of {keys} keys"),
        interval.end(1, &[started.elapsed()])?,
    ));
    members.stop();
    std::fs::remove_dir_all(&directory)?;
    Ok(rows)
}

async fn load(members: &Members, keys: u64, clients: usize) -> Result<Measured> {
    let connections = load::connect(members.leader(), clients).await?;
    let interval = Interval::start(members)?;
    let mut tasks = JoinSet::new();
    for (number, mut client) in (0_u64..).zip(connections) {
        let step = clients;
        tasks.spawn(async move {
            for at in (number..keys).step_by(step) {
                client
                    .put(format!("bulk{at:012}"), vec![b'v'; VALUE_BYTES], None)
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let measured = interval.end(keys, &[])?;
    let mut client = Client::connect([members.leader()], None).await?;
    let count = GetOptions::new().with_prefix().with_count_only();
    let found = client.get("bulk", Some(count)).await?.count();
    anyhow::ensure!(
        u64::try_from(found)? == keys,
        "{found} keys of {keys} are there"
    );
    Ok(measured)
}

fn once(members: &Members, took: Duration) -> Result<Measured> {
    Ok(Measured {
        per_second: 1.0 / took.as_secs_f64(),
        latency: Spread::of(&[took]),
        server_us: members.cpu()?.as_secs_f64() * 1e6,
        client_us: 0.0,
        resident_bytes: members.resident_bytes()?,
    })
}

async fn snapshot(members: &Members) -> Result<()> {
    let mut client = Client::connect([members.leader()], None).await?;
    let mut stream = client.snapshot().await?;
    while stream.message().await?.is_some() {}
    Ok(())
}

//! Workloads of single calls.

use super::load::{self, closed_loop};
use super::members::Members;
use crate::measured::Measured;
use anyhow::{Result, ensure};
use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const VALUE_BYTES: usize = 1024;
const SMALL_VALUE_BYTES: usize = 100;
const RANGE_KEYS: usize = 1000;
const RANGE_CLIENTS: usize = 10;
/// Keys of the compare-and-put transactions.
const COMPARED_KEYS: usize = 100_000;
/// Keys that the limited ranges lie over.
const LISTED_KEYS: usize = 60_000;
/// One put for so many gets, in the mixed workload.
const MIX: u64 = 10;
const PREPARERS: usize = 100;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Put,
    CompareAndPut,
    Get { serializable: bool },
    Range,
    Mixed,
    LimitOne,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name in the table.
    pub name: String,
    shape: Shape,
    clients: usize,
}

/// All of them; the many are `clients`.
pub fn all(clients: usize) -> Vec<Workload> {
    let get = |serializable| Shape::Get { serializable };
    [
        ("put 1 KiB", Shape::Put, 1),
        ("put 1 KiB", Shape::Put, clients),
        (
            "compare and put, 100,000 keys",
            Shape::CompareAndPut,
            clients,
        ),
        ("get", get(false), 1),
        ("get", get(false), clients),
        ("get, serializable", get(true), 1),
        ("get, serializable", get(true), clients),
        ("range of 1,000 keys", Shape::Range, RANGE_CLIENTS),
        ("90 % get, 10 % put", Shape::Mixed, clients),
        (
            "half range with limit 1 over 60,000 keys, half put",
            Shape::LimitOne,
            clients,
        ),
    ]
    .into_iter()
    .map(|(name, shape, clients)| Workload {
        name: format!(
            "{name}, {clients} client{}",
            if clients == 1 { "" } else { "s" }
        ),
        shape,
        clients,
    })
    .collect()
}

fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}/{number:08}")
}

/// Puts there what the workload reads.
pub async fn prepare(members: &Members, workload: &Workload) -> Result<()> {
    match workload.shape {
        Shape::Put => Ok(()),
        Shape::CompareAndPut => fill(members, "cas", COMPARED_KEYS, VALUE_BYTES).await,
        Shape::Get { .. } | Shape::Mixed => fill(members, "get", 1000, VALUE_BYTES).await,
        Shape::Range => fill(members, "range", RANGE_KEYS, SMALL_VALUE_BYTES).await,
        Shape::LimitOne => fill(members, "list", LISTED_KEYS, SMALL_VALUE_BYTES).await,
    }
}

async fn fill(members: &Members, prefix: &'static str, keys: usize, bytes: usize) -> Result<()> {
    let mut client = Client::connect([members.leader()], None).await?;
    let options = GetOptions::new().with_prefix().with_count_only();
    let present = client.get(format!("{prefix}/"), Some(options)).await?;
    if usize::try_from(present.count())? == keys {
        return Ok(());
    }
    let mut tasks = tokio::task::JoinSet::new();
    let clients = load::connect(members.leader(), PREPARERS).await?;
    for (number, mut client) in clients.into_iter().enumerate() {
        tasks.spawn(async move {
            for at in (number..keys).step_by(PREPARERS) {
                client.put(key(prefix, at), vec![b'v'; bytes], None).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One round.
pub async fn measure(
    members: &Members,
    workload: &Workload,
    interval: Duration,
) -> Result<Measured> {
    let clients = workload.clients;
    match workload.shape {
        Shape::Put => closed_loop(members, clients, interval, put).await,
        Shape::CompareAndPut => {
            let versions: Arc<Vec<AtomicI64>> =
                Arc::new((0..COMPARED_KEYS).map(|_| AtomicI64::new(0)).collect());
            let operation = move |client, number, turn| {
                compare_and_put(client, number, turn, clients, versions.clone())
            };
            closed_loop(members, clients, interval, operation).await
        }
        Shape::Get { serializable } => {
            let operation = move |client, number, turn| get(client, number, turn, serializable);
            closed_loop(members, clients, interval, operation).await
        }
        Shape::Range => closed_loop(members, clients, interval, range).await,
        Shape::Mixed => {
            let operation = |client, number: usize, turn: u64| async move {
                if turn % MIX == MIX - 1 {
                    put(client, number, turn).await
                } else {
                    get(client, number, turn, false).await
                }
            };
            closed_loop(members, clients, interval, operation).await
        }
        Shape::LimitOne => closed_loop(members, clients, interval, limit_one).await,
    }
}

async fn put(mut client: Client, number: usize, turn: u64) -> Result<()> {
    let at = (number * 7919 + usize::try_from(turn)? * 104_729) % 100_000;
    let options: Option<PutOptions> = None;
    client
        .put(key("put", at), vec![b'v'; VALUE_BYTES], options)
        .await?;
    Ok(())
}

/// Each client has keys of its own and knows their versions, as a controller does.
async fn compare_and_put(
    mut client: Client,
    number: usize,
    turn: u64,
    clients: usize,
    versions: Arc<Vec<AtomicI64>>,
) -> Result<()> {
    let own = COMPARED_KEYS / clients;
    let at = number * own + usize::try_from(turn)? % own;
    let key = key("cas", at);
    let known = versions[at].load(Ordering::Relaxed);
    let txn = Txn::new()
        .when([Compare::mod_revision(key.clone(), CompareOp::Equal, known)])
        .and_then([TxnOp::put(key.clone(), vec![b'v'; VALUE_BYTES], None)])
        .or_else([TxnOp::get(key, None)]);
    let answer = client.txn(txn).await?;
    let revision = answer
        .header()
        .map_or(0, etcd_client::ResponseHeader::revision);
    let now = match answer.op_responses().into_iter().next() {
        Some(TxnOpResponse::Get(found)) => found.kvs().first().map_or(0, |kv| kv.mod_revision()),
        _ => revision,
    };
    versions[at].store(now, Ordering::Relaxed);
    Ok(())
}

async fn get(mut client: Client, number: usize, turn: u64, serializable: bool) -> Result<()> {
    let at = (number * 31 + usize::try_from(turn)? * 17) % 1000;
    let options = serializable.then(|| GetOptions::new().with_serializable());
    let found = client.get(key("get", at), options).await?;
    ensure!(
        found.kvs().len() == 1,
        "a key that was written is not there"
    );
    Ok(())
}

async fn range(mut client: Client, _: usize, _: u64) -> Result<()> {
    let found = client
        .get("range/", Some(GetOptions::new().with_prefix()))
        .await?;
    ensure!(found.kvs().len() == RANGE_KEYS, "a range lacks keys");
    Ok(())
}

/// As paginated lists do: the answer tells how many there are in all.
async fn limit_one(mut client: Client, number: usize, turn: u64) -> Result<()> {
    if (number + usize::try_from(turn)?).is_multiple_of(2) {
        return put(client, number, turn).await;
    }
    let options = GetOptions::new().with_prefix().with_limit(1);
    let txn = Txn::new().and_then([TxnOp::get("list/", Some(options))]);
    let answer = client.txn(txn).await?;
    let Some(TxnOpResponse::Get(found)) = answer.op_responses().into_iter().next() else {
        anyhow::bail!("a transaction did not answer its range");
    };
    ensure!(
        usize::try_from(found.count())? == LISTED_KEYS,
        "a count is wrong"
    );
    Ok(())
}

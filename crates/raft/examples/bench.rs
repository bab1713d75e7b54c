//! Measures acknowledged puts a second on three replicas in this process, over
//! loopback TCP, each with a write-ahead log on the real disk and a state
//! machine in memory.
//!
//! `cargo run --release -p kontiki-raft --example bench -- [SECONDS] [DIR]`

#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use kontiki_mvcc::MemoryEngine;
use kontiki_raft::{InitialMember, ReplicatedConfig, ReplicatedStore};
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, Store, TxnRequest};
use prometheus_client::registry::Registry;
use std::error::Error;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Replicas = Vec<Arc<ReplicatedStore>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("kontiki-bench-{}", std::process::id()));
    let replicas = start(&dir).await?;
    let leader = leader(&replicas).await;
    let follower = (leader + 1) % replicas.len();
    println!(
        "{:<10} {:>8} {:>12} {:>10} {:>10}",
        "at", "writers", "puts/s", "p50 ms", "p99 ms"
    );
    for writers in [1, 8, 64, 512] {
        for (name, at) in [("leader", leader), ("follower", follower)] {
            let took = measure(&replicas[at], writers, Duration::from_secs(seconds), false).await;
            print(name, writers, took, seconds);
        }
    }
    println!(
        "{:<10} {:>8} {:>12}",
        "at", "readers", "reads/s (linearizable)"
    );
    for readers in [1, 64, 512] {
        for (name, at) in [("leader", leader), ("follower", follower)] {
            let took = measure(&replicas[at], readers, Duration::from_secs(seconds), true).await;
            print(name, readers, took, seconds);
        }
    }
    let survivors = fail_over(replicas, leader).await;
    for replica in &survivors {
        replica.shutdown().await;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn start(dir: &std::path::Path) -> Result<Replicas, Box<dyn Error>> {
    let mut initial = Vec::new();
    for name in ["a", "b", "c"] {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        initial.push(InitialMember {
            name: name.into(),
            peer_address: format!("127.0.0.1:{port}"),
        });
    }
    let mut replicas = Vec::new();
    for member in &initial {
        let config = ReplicatedConfig::new(dir.join(&member.name), &member.name, initial.clone());
        let engine = Arc::new(MemoryEngine::new());
        replicas.push(Arc::new(
            ReplicatedStore::start(config, engine, &mut Registry::default()).await?,
        ));
    }
    Ok(replicas)
}

async fn leader(replicas: &Replicas) -> usize {
    loop {
        if let Some(at) = replicas
            .iter()
            .position(|replica| replica.status().borrow().is_leader())
            && replicas[at].read_barrier().await.is_ok()
        {
            return at;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn measure(
    store: &Arc<ReplicatedStore>,
    tasks: usize,
    length: Duration,
    read: bool,
) -> Vec<Duration> {
    let end = Instant::now() + length;
    let spawn = |task: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            let key = format!("/registry/bench/{task}");
            while Instant::now() < end {
                let started = Instant::now();
                let done = if read {
                    let range = KeyRange::one(key.clone());
                    store
                        .range(RangeRequest {
                            range,
                            ..RangeRequest::default()
                        })
                        .await
                        .is_ok()
                } else {
                    let value = vec![0x5a; 256].into();
                    let put = PutRequest {
                        key: key.clone().into(),
                        value,
                        ..PutRequest::default()
                    };
                    store
                        .txn(TxnRequest {
                            success: vec![Op::Put(put)],
                            ..TxnRequest::default()
                        })
                        .await
                        .is_ok()
                };
                if done {
                    took.push(started.elapsed());
                }
            }
            took
        })
    };
    let tasks: Vec<_> = (0..tasks).map(spawn).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap_or_default());
    }
    all.sort_unstable();
    all
}

/// Drops the leader while a follower is written to; prints the longest gap
/// between two acknowledged writes.
async fn fail_over(mut replicas: Replicas, leader: usize) -> Replicas {
    let dead = replicas.remove(leader);
    let store = replicas[0].clone();
    let writer = tokio::spawn(async move {
        let (mut last, mut gap, begun) = (Instant::now(), Duration::ZERO, Instant::now());
        while begun.elapsed() < Duration::from_secs(4) {
            let put = PutRequest {
                key: "failover".into(),
                ..PutRequest::default()
            };
            let txn = TxnRequest {
                success: vec![Op::Put(put)],
                ..TxnRequest::default()
            };
            if store.txn(txn).await.is_ok() {
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
        }
        gap
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(dead);
    let gap = writer.await.unwrap_or_default();
    println!(
        "leader dropped: longest gap between acknowledged writes {} ms",
        gap.as_millis()
    );
    replicas
}

fn print(name: &str, tasks: usize, took: Vec<Duration>, seconds: u64) {
    let at = |part: f64| {
        took.get((took.len() as f64 * part) as usize)
            .map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    let rate = took.len() as u64 / seconds.max(1);
    println!(
        "{name:<10} {tasks:>8} {rate:>12} {:>10.2} {:>10.2}",
        at(0.5),
        at(0.99)
    );
}

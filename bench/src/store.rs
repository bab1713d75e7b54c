//! The store beside etcd: the same work, the same machine, the same flags, in
//! turns.
//!
//! Three members of each run throughout, so that what the disk and the cores do
//! meanwhile is the same for both; only one of them is given work at a time.
//! Every acknowledged write is on a quorum's disk in both.

mod bulk;
mod load;
mod members;
mod report;
mod streams;
mod unary;

pub use report::table;

use crate::measured::Measured;
use anyhow::{Context, Result};
use members::{Members, Product};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kontiki's binary.
    pub kontiki: PathBuf,
    /// Binaries of etcd servers, the first of which is the anchor.
    pub etcds: Vec<PathBuf>,
    /// Where their data lies; what is there is removed.
    pub directory: PathBuf,
    /// Of each measured interval.
    pub interval: Duration,
    /// How often each workload is given to each product, in turns.
    pub rounds: u32,
    /// Clients of the many-client workloads.
    pub clients: usize,
    /// Keys of the bulk load; 0 leaves it out.
    pub bulk_keys: u64,
    /// Only workloads whose name contains this.
    pub only: String,
}

/// One workload's figures, a row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub workload: String,
    /// By product, in the order of [`Outcome::products`]: the median round.
    pub measured: Vec<Measured>,
}

/// Everything that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Who was measured; Kontiki is the last.
    pub products: Vec<String>,
    /// What a flush of the same disk costs, in microseconds (median).
    pub flush_us: f64,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Runs the plan.
///
/// # Errors
/// If a product does not start or answers wrongly.
pub async fn run(plan: &Plan, note: &(dyn Fn(&str) + Sync)) -> Result<Outcome> {
    let _ = std::fs::remove_dir_all(&plan.directory);
    std::fs::create_dir_all(&plan.directory)
        .with_context(|| format!("cannot make {}", plan.directory.display()))?;
    let flush_us = members::flush_cost(&plan.directory)?;
    let products = products(plan);
    let mut clusters = Vec::new();
    for product in &products {
        note(&format!("starting three members of {}", product.name));
        clusters.push(Members::start(product, &plan.directory).await?);
    }
    let mut rows = Vec::new();
    for workload in unary::all(plan.clients) {
        if workload.name.contains(&plan.only) {
            rows.push(unary_row(plan, &clusters, &workload, note).await?);
        }
    }
    for workload in streams::all() {
        if workload.name().contains(&plan.only) {
            rows.push(stream_row(plan, &clusters, &workload, note).await?);
        }
    }
    drop(clusters);
    if plan.bulk_keys > 0 && bulk::NAME.contains(&plan.only) {
        rows.extend(bulk_rows(plan, &products, note).await?);
    }
    let _ = std::fs::remove_dir_all(&plan.directory);
    Ok(Outcome {
        products: products.into_iter().map(|product| product.name).collect(),
        flush_us,
        rows,
    })
}

fn products(plan: &Plan) -> Vec<Product> {
    let etcds = plan.etcds.iter().map(|binary| Product::etcd(binary));
    etcds.chain([Product::kontiki(&plan.kontiki)]).collect()
}

async fn unary_row(
    plan: &Plan,
    clusters: &[Members],
    workload: &unary::Workload,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Row> {
    for members in clusters {
        unary::prepare(members, workload).await?;
    }
    let mut rounds = vec![Vec::new(); clusters.len()];
    for round in 1..=plan.rounds {
        for (members, rounds) in clusters.iter().zip(&mut rounds) {
            note(&format!(
                "{}: {} (round {round})",
                workload.name,
                members.name()
            ));
            rounds.push(unary::measure(members, workload, plan.interval).await?);
        }
    }
    Ok(row(workload.name.clone(), rounds))
}

async fn stream_row(
    plan: &Plan,
    clusters: &[Members],
    workload: &streams::Workload,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Row> {
    let mut rounds = vec![Vec::new(); clusters.len()];
    for round in 1..=plan.rounds {
        for (members, rounds) in clusters.iter().zip(&mut rounds) {
            note(&format!(
                "{}: {} (round {round})",
                workload.name(),
                members.name()
            ));
            rounds.push(streams::measure(members, workload).await?);
        }
    }
    Ok(row(workload.name(), rounds))
}

async fn bulk_rows(
    plan: &Plan,
    products: &[Product],
    note: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Row>> {
    let mut by_product = Vec::new();
    for product in products {
        by_product.push(bulk::measure(product, &plan.directory, plan, note).await?);
    }
    let steps = by_product.first().map_or(0, Vec::len);
    let rows = (0..steps).map(|at| Row {
        workload: by_product[0][at].0.clone(),
        measured: by_product.iter().map(|steps| steps[at].1.clone()).collect(),
    });
    Ok(rows.collect())
}

fn row(workload: String, rounds: Vec<Vec<Measured>>) -> Row {
    Row {
        workload,
        measured: rounds.into_iter().map(load::median).collect(),
    }
}

/// Where the data of the benchmark lies: on the disk of the checkout.
#[must_use]
pub fn directory(root: &Path) -> PathBuf {
    root.join(".kontiki-bench-store")
}

//! One server with store and API alone, over TLS: what requests, lists and watches
//! cost it.

mod lists;
mod report;
mod verbs;
mod watches;
mod wire;

pub use report::table;

use crate::measured::{Measured, Servers};
use crate::usage;
use anyhow::{Context, Result};
use http::Method;
use kontiki_client::HttpsConfig;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use wire::{Ask, Connection};

const CLIENTS: [usize; 3] = [1, 32, 128];
const WATCHERS: [usize; 2] = [100, 1000];
const SETTLED_AFTER: Duration = Duration::from_secs(10);
const FILLERS: usize = 32;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Objects of a verb with one client; ten times as many with more.
    pub objects: usize,
    /// Objects of the lists.
    pub listed: usize,
    /// Objects that watchers see.
    pub watched: usize,
    /// Objects there when memory is looked at; 0 leaves it out.
    pub held: usize,
    /// Only rows whose name contains this.
    pub only: String,
}

/// The server that is measured.
pub struct Server {
    config: HttpsConfig,
    pid: i32,
}

impl Server {
    /// A process and how it is reached.
    #[must_use]
    pub fn new(config: HttpsConfig, pid: i32) -> Self {
        Self { config, pid }
    }
}

impl Servers for Server {
    fn cpu(&self) -> Result<Duration> {
        usage::cpu_time(self.pid)
    }

    fn resident_bytes(&self) -> Result<u64> {
        usage::resident_bytes(self.pid)
    }
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// What it showed, of requests or events.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Everything that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Resident memory of the idle server before anything was asked, in bytes.
    pub idle_bytes: u64,
    /// The rows.
    pub rows: Vec<Row>,
    /// Resident memory with [`Plan::held`] objects, a moment later, in bytes.
    pub held_bytes: Option<u64>,
}

/// Runs the plan.
///
/// # Errors
/// If the server refuses something.
pub async fn run(plan: &Plan, server: &Server, note: &(dyn Fn(&str) + Sync)) -> Result<Outcome> {
    tokio::time::sleep(SETTLED_AFTER).await;
    let idle_bytes = usage::resident_bytes(server.pid)?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        verb_rows(plan, server, clients, &mut rows, note).await?;
    }
    let wanted = |what: &str| plan.only.is_empty() || what.contains(&plan.only);
    if plan.listed > 0 && wanted("list") {
        note(&format!("making {} objects", plan.listed));
        fill(server, "bench-list", plan.listed).await?;
        for manner in lists::ALL {
            note("listing");
            rows.push(lists::measure(server, "bench-list", plan.listed, manner).await?);
        }
    }
    if plan.watched > 0 && wanted("events") {
        make_namespace(server, "bench-watch").await?;
        for watchers in WATCHERS {
            note(&format!("{watchers} watchers"));
            rows.push(watches::measure(server, "bench-watch", watchers, plan.watched).await?);
        }
    }
    let held_bytes = if plan.held > 0 && wanted("held") {
        note(&format!("making {} objects", plan.held));
        fill(server, "bench-held", plan.held).await?;
        tokio::time::sleep(SETTLED_AFTER).await;
        Some(usage::resident_bytes(server.pid)?)
    } else {
        None
    };
    Ok(Outcome {
        idle_bytes,
        rows,
        held_bytes,
    })
}

async fn verb_rows(
    plan: &Plan,
    server: &Server,
    clients: usize,
    rows: &mut Vec<Row>,
    note: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    if !plan.only.is_empty() && !verbs::is_any_named(&plan.only) {
        return Ok(());
    }
    make_namespace(server, "bench-verbs").await?;
    let objects = plan.objects * if clients == 1 { 1 } else { 10 };
    for verb in verbs::ALL {
        note(&format!("{verb:?}, {clients} at a time"));
        rows.push(verbs::measure(server, "bench-verbs", verb, clients, objects).await?);
    }
    Ok(())
}

async fn make_namespace(server: &Server, name: &str) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
    });
    let path = "/api/v1/namespaces".to_owned();
    let ask = Ask::with(
        Method::POST,
        path,
        "application/json",
        namespace.to_string(),
    );
    let made = Connection::open(&server.config).await?.call(&ask).await;
    match made {
        Err(error) if !wire::is_conflict(&error) => {
            Err(error).with_context(|| format!("cannot make the namespace {name}"))
        }
        _ => Ok(()),
    }
}

/// Makes so many objects in a namespace of their own.
async fn fill(server: &Server, namespace: &'static str, objects: usize) -> Result<()> {
    make_namespace(server, namespace).await?;
    verbs::measure(server, namespace, verbs::Verb::Create, FILLERS, objects).await?;
    Ok(())
}

//! What a small cluster feels like: how soon its servers serve, what they cost
//! when nothing happens, how soon a pod runs.

use crate::figures::{Spread, mebibytes};
use crate::usage::{self, Usage};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kontiki_client::resources::{NAMESPACES, PODS};
use kontiki_client::{
    Client, DeleteOptions, HttpsApi, HttpsConfig, ResourceClient, WatchEvent, WatchParams,
};
use kontiki_object::{SharedObject, Value};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xtask::cluster::{Cluster, agent_process, server_process};
use xtask::topology::{API_PORT, Machine};
use xtask::{images, netns};

/// The cluster that is made for this, and taken away afterwards.
pub const CLUSTER: &str = "bench";

const NAMESPACE: &str = "default";
const READY_PATIENCE: Duration = Duration::from_secs(60);
const POD_PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How long things are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pods that are started, one after the other.
    pub pods: u32,
    /// Between the last thing that happened and the idle measurement.
    pub settle: Duration,
    /// Of the idle measurement.
    pub idle: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// From the start of all servers at once until each was ready.
    pub ready: Spread,
    /// From the start of one server, whose peers serve, until it was ready.
    pub rejoined: Spread,
    /// From the request to create a pod until it was seen running, then ready.
    pub pod_running: Spread,
    /// Likewise.
    pub pod_ready: Spread,
    /// Every process's idle cost, by its name.
    pub idle: Vec<(String, Usage)>,
}

/// Measures a cluster that is up; its servers are restarted for it.
///
/// # Errors
/// If the cluster cannot be asked, or something does not become ready.
pub fn measure(cluster: &Cluster, plan: Plan, note: &dyn Fn(&str)) -> Result<Outcome> {
    note("every server starts");
    let servers: Vec<Machine> = cluster.topology.servers().cloned().collect();
    for server in &servers {
        cluster.processes.stop(&server_process(server))?;
    }
    let ready = start_and_wait(cluster, &servers)?;
    note("one server starts");
    let mut rejoined = Vec::new();
    for server in &servers {
        cluster.processes.stop(&server_process(server))?;
        rejoined.extend(start_and_wait(cluster, std::slice::from_ref(server))?);
    }
    note("pods start");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let config = HttpsConfig::from_kubeconfig_file(&cluster.kubeconfig())?;
    let pods = runtime.block_on(start_pods(config, plan.pods))?;
    drop(runtime);
    note("nothing happens");
    std::thread::sleep(plan.settle);
    Ok(Outcome {
        ready: Spread::of(&ready),
        rejoined: Spread::of(&rejoined),
        pod_running: Spread::of(&pods.iter().map(|(running, _)| *running).collect::<Vec<_>>()),
        pod_ready: Spread::of(&pods.iter().map(|(_, ready)| *ready).collect::<Vec<_>>()),
        idle: idle(cluster, plan.idle)?,
    })
}

/// Starts servers; for each, how long it took until it answered a linearizable read.
fn start_and_wait(cluster: &Cluster, servers: &[Machine]) -> Result<Vec<Duration>> {
    let base = HttpsConfig::from_kubeconfig_file(&cluster.kubeconfig())?;
    let client = cluster.topology.namespace(&cluster.topology.client().name);
    let start = Instant::now();
    for server in servers {
        cluster.start_server(server)?;
    }
    let wait = |server: &Machine| {
        let (client, mut config) = (client.clone(), base.clone());
        config.servers = vec![format!("https://{}:{API_PORT}", server.address)];
        let name = server.name.clone();
        std::thread::spawn(move || {
            netns::inside(&client, move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime
                    .block_on(wait_ready(config))
                    .with_context(|| format!("{name} is not ready"))
            })?;
            Ok(start.elapsed())
        })
    };
    let waiting: Vec<_> = servers.iter().map(wait).collect();
    let mut took = Vec::new();
    for thread in waiting {
        let waited: Result<Duration> = thread.join().expect("waiting does not panic");
        took.push(waited?);
    }
    Ok(took)
}

async fn wait_ready(config: HttpsConfig) -> Result<()> {
    let client = Client::new(Arc::new(HttpsApi::new(config)?), "kontiki-bench");
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        match client.resource(&NAMESPACES).get(NAMESPACE).await {
            Ok(_) => return Ok(()),
            Err(status) if Instant::now() > deadline => bail!("{status}"),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

async fn start_pods(config: HttpsConfig, count: u32) -> Result<Vec<(Duration, Duration)>> {
    let client = Client::new(Arc::new(HttpsApi::new(config)?), "kontiki-bench");
    let pods = client.namespaced(&PODS, NAMESPACE);
    let mut took = Vec::new();
    for number in 0..=count {
        let name = format!("bench-{number}");
        let started = start_pod(&client, &pods, &name).await;
        let removed = pods.delete(&name, DeleteOptions::default()).await;
        let started = started.with_context(|| format!("the pod {name}"))?;
        removed.map_err(|status| anyhow::anyhow!("{name} is not deleted: {status}"))?;
        // The first one warms caches that every later one finds warm.
        if number > 0 {
            took.push(started);
        }
    }
    Ok(took)
}

/// How long it takes until a new pod is seen running, then ready.
async fn start_pod(
    client: &Client,
    pods: &ResourceClient,
    name: &str,
) -> Result<(Duration, Duration)> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": images::BUSYBOX,
                "command": ["sleep", "3600"],
            }],
        },
    });
    let failed = |status| anyhow::anyhow!("{status}");
    let start = Instant::now();
    let created = pods.create(pod).await.map_err(failed)?;
    let params = WatchParams {
        resource: PODS,
        namespace: Some(NAMESPACE.to_owned()),
        field_selector: format!("metadata.name={name}"),
        resource_version: created.resource_version().to_owned(),
        ..WatchParams::default()
    };
    let mut events = client.api().watch(params).await.map_err(failed)?;
    let mut running = None;
    let watched = async {
        while let Some(event) = events.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event.map_err(failed)?
            else {
                continue;
            };
            if pod.str_at(&["status", "phase"]) == Some("Running") {
                running.get_or_insert_with(|| start.elapsed());
            }
            if is_ready(&pod) {
                let ready = start.elapsed();
                return Ok((running.unwrap_or(ready), ready));
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(POD_PATIENCE, watched)
        .await
        .context("it is not ready in time")?
}

fn is_ready(pod: &SharedObject) -> bool {
    let conditions = pod.get(&["status", "conditions"]);
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn idle(cluster: &Cluster, length: Duration) -> Result<Vec<(String, Usage)>> {
    let servers = cluster.topology.servers().map(server_process);
    let names: Vec<String> = servers
        .chain(cluster.topology.nodes().map(agent_process))
        .collect();
    let mut before = Vec::new();
    for name in names {
        let record = cluster.processes.alive(&name);
        let pid = record.with_context(|| format!("{name} does not run"))?.pid;
        before.push((name, pid, usage::sample(pid)?));
    }
    std::thread::sleep(length);
    let used = before
        .into_iter()
        .map(|(name, pid, before)| Ok((name, usage::since(pid, before)?)));
    used.collect()
}

/// As a table for people.
///
/// # Panics
/// Never: a string takes all that is written.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut out = format!(
        "{:<34} {:>6} {:>10} {:>10}\n",
        "", "count", "p50 ms", "max ms"
    );
    for (what, spread) in [
        ("all servers start: ready after", outcome.ready),
        ("one server starts: ready after", outcome.rejoined),
        ("pod created: running after", outcome.pod_running),
        ("pod created: ready after", outcome.pod_ready),
    ] {
        let Spread {
            count,
            p50_ms,
            max_ms,
            ..
        } = spread;
        writeln!(out, "{what:<34} {count:>6} {p50_ms:>10.0} {max_ms:>10.0}").expect("a string");
    }
    writeln!(
        out,
        "\n{:<34} {:>6} {:>10} {:>10}",
        "idle", "CPU %", "RSS MiB", "anon MiB"
    )
    .expect("a string");
    for (name, usage) in &outcome.idle {
        let resident = mebibytes(usage.resident_bytes);
        let anonymous = mebibytes(usage.anonymous_bytes);
        let cpu = usage.cpu_percent;
        writeln!(
            out,
            "{name:<34} {cpu:>6.2} {resident:>10.1} {anonymous:>10.1}"
        )
        .expect("a string");
    }
    out
}

//! Keeping the kernel's rules as the Services want them.

use crate::metrics::Metrics;
use crate::rules::{NodeFacts, ruleset};
use crate::ruleset::{Ruleset, TABLE, transaction};
use crate::services::{Protocol, ServicePort, ports};
use kontiki_client::{Delta, ObjectCache};
use kontiki_object::SharedObject;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// What the proxy is told.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// This node.
    pub node_name: String,
    /// Facts that rules depend on.
    pub facts: NodeFacts,
    /// The shortest time between two changes; what comes meanwhile is one change.
    pub min_sync_period: Duration,
}

/// Why the rules could not be loaded.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The tool could not be run.
    #[error("cannot run nft: {0}; install nftables")]
    Run(std::io::Error),
    /// The kernel refused.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

const RETRY: Duration = Duration::from_secs(1);
/// A slow repair, for a table that somebody else flushed.
const RESYNC: Duration = Duration::from_secs(600);

/// The service proxy of one node.
pub struct Proxy {
    config: ProxyConfig,
    services: Arc<ObjectCache>,
    slices: Arc<ObjectCache>,
    metrics: Metrics,
    loaded: Option<Ruleset>,
    udp: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
}

impl Proxy {
    /// A proxy that follows these caches.
    pub fn new(
        config: ProxyConfig,
        services: Arc<ObjectCache>,
        slices: Arc<ObjectCache>,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::register(registry);
        Self {
            config,
            services,
            slices,
            metrics,
            loaded: None,
            udp: BTreeSet::new(),
        }
    }

    /// Follows the objects until `cancel` is cancelled. The rules stay: traffic
    /// goes on while the agent restarts.
    pub async fn run(mut self, cancel: CancellationToken) {
        let (mut services, mut slices) = (self.services.subscribe(), self.slices.subscribe());
        loop {
            while services.try_recv().is_ok() {}
            while slices.try_recv().is_ok() {}
            let pause = match self.sync().await {
                Ok(()) => RESYNC,
                Err(error) => {
                    tracing::warn!(%error, "the service rules are not as they should be, will load them anew");
                    self.metrics.sync_failures.inc();
                    self.loaded = None;
                    RETRY
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(self.config.min_sync_period) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => self.forget_lost_table().await,
                () = changed(&mut services) => {}
                () = changed(&mut slices) => {}
            }
        }
    }

    /// Brings the rules into the wanted state once.
    ///
    /// # Errors
    /// If nft cannot be run or refuses.
    pub async fn sync(&mut self) -> Result<(), ProxyError> {
        let started = Instant::now();
        let (services, slices) = (self.services.list(), self.slices.list());
        let ports = ports(
            services.iter().map(|o| &**o),
            slices.iter().map(|o| &**o),
            &self.config.node_name,
        );
        let wanted = ruleset(&ports, &self.config.facts);
        let change = transaction(self.loaded.as_ref(), &wanted);
        if !change.is_empty() {
            load(&change).await?;
            self.loaded = Some(wanted);
            self.metrics
                .sync_seconds
                .observe(started.elapsed().as_secs_f64());
        }
        self.forget_flows(&ports).await;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.metrics
            .last_sync
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Loads the rules anew if somebody else removed them.
    async fn forget_lost_table(&mut self) {
        let list = Command::new("nft").args(["list", "chain", "ip", TABLE, "dispatch"]).stdout(Stdio::null()).status();
        if !list.await.is_ok_and(|status| status.success()) {
            self.loaded = None;
        }
    }

    /// UDP has no end of a connection: a client that goes on sending would reach
    /// an endpoint that is gone for ever.
    async fn forget_flows(&mut self, ports: &[ServicePort]) {
        let udp = ports.iter().filter(|port| port.protocol() == Protocol::Udp);
        let present: BTreeSet<(Ipv4Addr, Ipv4Addr)> = udp
            .flat_map(|port| {
                port.cluster_ips
                    .iter()
                    .flat_map(|service| port.endpoints.iter().map(|e| (*service, e.address)))
            })
            .collect();
        for (service, endpoint) in self.udp.difference(&present) {
            let args = [
                "-D",
                "-p",
                "udp",
                "--orig-dst",
                &service.to_string(),
                "--dst-nat",
                &endpoint.to_string(),
            ];
            // It fails where there is no such flow, which is what is wanted.
            let _ = Command::new("conntrack")
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .await;
        }
        self.udp = present;
    }

    /// Removes the table.
    ///
    /// # Errors
    /// If nft cannot be run.
    pub async fn cleanup() -> Result<(), ProxyError> {
        load(&format!("add table ip {TABLE}\ndelete table ip {TABLE}\n")).await
    }
}

/// Waits for a change that can change rules: a Service or slice of other content.
async fn changed(deltas: &mut UnboundedReceiver<Delta>) {
    let content = |object: &Option<SharedObject>| {
        object.as_ref().map(|object| {
            let part = |name: &str| object.tree().get(name).cloned();
            (
                part("spec"),
                part("status"),
                part("endpoints"),
                part("ports"),
            )
        })
    };
    while let Some(delta) = deltas.recv().await {
        if content(&delta.old) != content(&delta.new) {
            return;
        }
    }
    // The feed has ended with the process.
    std::future::pending().await
}

async fn load(text: &str) -> Result<(), ProxyError> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(ProxyError::Run)?;
    let mut stdin = nft.stdin.take().expect("piped");
    stdin
        .write_all(text.as_bytes())
        .await
        .map_err(ProxyError::Run)?;
    drop(stdin);
    let output = nft.wait_with_output().await.map_err(ProxyError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(ProxyError::Refused(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

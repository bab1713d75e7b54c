//! Keeps the node's pod network as the nodes say.

use crate::cni::{CniConfig, conflist};
use crate::kernel::{Kernel, KernelError};
use crate::plan::{Desired, own_address, peers, plan, pod_ranges};
use ipnet::IpNet;
use kontiki_client::ObjectCache;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

/// The name of our nftables table.
const TABLE: &str = "kontiki-network";

/// How a node's pod network works.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The node's own name.
    pub node_name: String,
    /// All addresses of pods: traffic between them is never masqueraded.
    pub cluster_ranges: Vec<IpNet>,
    /// Addresses of Services, if the node shall have a route for them.
    pub service_ranges: Vec<IpNet>,
    /// Addresses that every node has for itself alone, on loopback: the DNS of
    /// its pods listens there.
    pub local_addresses: Vec<IpAddr>,
    /// The plugins' configuration.
    pub cni: CniConfig,
    /// After this long the kernel's state is looked at again.
    pub resync_period: Duration,
    /// How long to wait after a failure.
    pub retry_delay: Duration,
}

impl NetworkConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(node_name: impl Into<String>, cluster_ranges: Vec<IpNet>) -> Self {
        Self {
            node_name: node_name.into(),
            cluster_ranges,
            service_ranges: Vec::new(),
            local_addresses: Vec::new(),
            cni: CniConfig::default(),
            resync_period: Duration::from_secs(60),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// What can go wrong with the pod network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file cannot be written.
    #[error("cannot write {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// nftables refuses.
    #[error("cannot load the masquerading rules: {0}")]
    Nft(String),
}

/// The pod network of a node.
pub struct Network {
    config: NetworkConfig,
    nodes: Arc<ObjectCache>,
    kernel: Kernel,
    applied: Desired,
    rules: String,
}

impl Network {
    /// Follows the nodes until `cancel` is cancelled. Everything stays in place then.
    ///
    /// # Errors
    /// If the kernel cannot be talked to at all.
    pub async fn run(
        config: NetworkConfig,
        nodes: Arc<ObjectCache>,
        cancel: CancellationToken,
    ) -> Result<(), NetworkError> {
        let network = Self {
            kernel: Kernel::open()?,
            config,
            nodes,
            applied: Desired::default(),
            rules: String::new(),
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = network.follow() => {}
        }
        Ok(())
    }

    async fn follow(mut self) {
        let mut changes = self.nodes.subscribe();
        loop {
            while changes.try_recv().is_ok() {}
            let wait = match self.sync().await {
                Ok(()) => self.config.resync_period,
                Err(error) => {
                    tracing::error!(%error, "the pod network could not be set up, will try again");
                    self.config.retry_delay
                }
            };
            tokio::select! {
                change = changes.recv() => if change.is_none() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn sync(&mut self) -> Result<(), NetworkError> {
        let nodes = self.nodes.list();
        let own_name = &self.config.node_name;
        let own_ranges = nodes
            .iter()
            .find(|node| node.name() == own_name)
            .map(|node| pod_ranges(node))
            .unwrap_or_default();
        set_sysctls().await;
        for address in &self.config.local_addresses {
            self.kernel.ensure_local_address(*address).await?;
        }
        if let Some(IpAddr::V4(own)) = own_address(&nodes, own_name) {
            self.sync_routes(&nodes, own).await?;
        }
        if own_ranges.is_empty() {
            // No range has been given to this node yet.
            return Ok(());
        }
        self.masquerade(&own_ranges).await?;
        // Last: from here on the runtime starts pods.
        self.write_conflist(&own_ranges)
    }

    async fn sync_routes(
        &mut self,
        nodes: &[kontiki_object::SharedObject],
        own: std::net::Ipv4Addr,
    ) -> Result<(), NetworkError> {
        let facts = self.kernel.facts(&self.config.cni.bridge).await?;
        let desired = Desired::build(&peers(nodes, &self.config.node_name), &facts);
        if !desired.tunnels.is_empty() {
            self.kernel.ensure_tunnel(own).await?;
        }
        // Routes are read anew, because they go with their device; what the
        // tunnel knows is remembered, because stale entries do no harm.
        self.applied.routes = self.kernel.routes().await?;
        for action in plan(&self.applied, &desired) {
            tracing::debug!(?action, "pod network");
            self.kernel.carry_out(&action).await?;
        }
        self.applied = desired;
        for range in &self.config.service_ranges {
            if let IpNet::V4(range) = range {
                self.kernel.ensure_service_route(*range, own).await?;
            }
        }
        Ok(())
    }

    fn write_conflist(&self, ranges: &[IpNet]) -> Result<(), NetworkError> {
        let cni = &self.config.cni;
        let wanted = format!("{:#}\n", conflist(cni, ranges));
        if std::fs::read_to_string(&cni.path).is_ok_and(|present| present == wanted) {
            return Ok(());
        }
        write(&cni.path, &wanted).map_err(|source| NetworkError::File {
            path: cni.path.clone(),
            source,
        })
    }

    async fn masquerade(&mut self, ranges: &[IpNet]) -> Result<(), NetworkError> {
        let rules = masquerade_rules(ranges, &self.config.cluster_ranges, &self.config.cni.bridge);
        if rules != self.rules {
            nft(&rules).await.map_err(NetworkError::Nft)?;
            self.rules = rules;
        }
        Ok(())
    }
}

/// Pods leave the cluster under the node's address, because nobody outside
/// knows a way back to theirs.
fn masquerade_rules(own: &[IpNet], cluster: &[IpNet], bridge: &str) -> String {
    let mut text = String::new();
    for (family, is_v4) in [("ip", true), ("ip6", false)] {
        let list = |ranges: &[IpNet]| {
            let own: Vec<String> = ranges
                .iter()
                .filter(|range| range.addr().is_ipv4() == is_v4)
                .map(ToString::to_string)
                .collect();
            own.join(", ")
        };
        text.push_str(&format!(
            "add table {family} {TABLE}\ndelete table {family} {TABLE}\n"
        ));
        let (from, mut inside) = (list(own), list(cluster));
        if from.is_empty() {
            continue;
        }
        if inside.is_empty() {
            inside.clone_from(&from);
        }
        text.push_str(&format!(
            "table {family} {TABLE} {{
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat;
\t\t{family} saddr {{ {from} }} {family} daddr != {{ {inside} }} oifname != \"{bridge}\" masquerade fully-random
\t}}
}}
"
        ));
    }
    text
}

async fn nft(script: &str) -> Result<(), String> {
    let mut child = tokio::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("nft cannot be run: {error}"))?;
    let mut input = child.stdin.take().expect("it is piped");
    let written = input.write_all(script.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await.map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    written.map_err(|error| error.to_string())
}

/// Settings without which packets of pods are not forwarded, or answers of a
/// pod on the same bridge come back from the wrong address.
const SYSCTLS: [(&str, &str); 4] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];

async fn set_sysctls() {
    let root = Path::new("/proc/sys");
    if !root.join("net/bridge").exists() {
        let mut load = tokio::process::Command::new("modprobe");
        load.arg("br_netfilter")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = load.status().await;
    }
    for (name, value) in SYSCTLS {
        let path = root.join(name);
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        if present.trim() == value {
            continue;
        }
        if let Err(error) = std::fs::write(&path, value) {
            tracing::warn!(setting = name, %error, "a kernel setting that pods need cannot be made");
        }
    }
}

/// Writes a file whole or not at all: the runtime watches the directory.
fn write(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // The runtime reads files by their ending, so this one is not seen.
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, content)?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests;

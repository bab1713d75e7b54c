//! The configuration of a node agent.

use anyhow::{Context, Result, bail};
use kontiki_telemetry::TelemetryConfig;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// `agent.yaml`. Only `servers` has no default; a token is needed once.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentConfig {
    /// This node's name; by default the host's.
    #[serde(default = "host_name")]
    pub node_name: String,
    /// This node's address; by default the one that leads to the servers.
    #[serde(rename = "nodeIP")]
    pub node_ip: Option<IpAddr>,
    /// `host:port` of some servers; the others are learned from them.
    pub servers: Vec<String>,
    /// The join token; `tokenFile` keeps it out of this file.
    pub token: Option<String>,
    /// A file with the join token.
    pub token_file: Option<PathBuf>,
    /// Where the agent keeps its certificates and the pods' volumes.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// The container runtime's socket.
    #[serde(default = "runtime_endpoint")]
    pub container_runtime_endpoint: String,
    /// Where the agent writes the pod network's configuration.
    #[serde(default = "cni_conf_dir")]
    pub cni_conf_dir: PathBuf,
    /// Where the CNI plugins lie.
    #[serde(default = "cni_bin_dir")]
    pub cni_bin_dir: PathBuf,
    /// The cgroup below which pods run.
    #[serde(default = "cgroup_root")]
    pub cgroup_root: String,
    /// Where the containers' logs go.
    #[serde(default = "pod_logs_dir")]
    pub pod_logs_dir: PathBuf,
    /// At most this many pods.
    #[serde(default = "max_pods")]
    pub max_pods: u32,
    /// Labels that the node registers with.
    #[serde(default)]
    pub node_labels: std::collections::BTreeMap<String, String>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

fn data_dir() -> PathBuf {
    "/var/lib/kontiki-agent".into()
}

fn runtime_endpoint() -> String {
    "unix:///run/containerd/containerd.sock".to_owned()
}

fn cni_conf_dir() -> PathBuf {
    "/etc/cni/net.d".into()
}

fn cni_bin_dir() -> PathBuf {
    "/usr/lib/cni".into()
}

fn cgroup_root() -> String {
    "/kubepods".to_owned()
}

fn pod_logs_dir() -> PathBuf {
    "/var/log/pods".into()
}

fn max_pods() -> u32 {
    110
}

impl AgentConfig {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<()> {
        if self.servers.is_empty() {
            bail!("servers is empty; name at least one server as host:port");
        }
        if self.node_name.is_empty() {
            bail!("the host has no name; set nodeName");
        }
        if !self.container_runtime_endpoint.starts_with("unix://") {
            bail!(
                "containerRuntimeEndpoint {:?} is not a socket; write unix:///path",
                self.container_runtime_endpoint
            );
        }
        Ok(())
    }

    /// The join token, from the file or the configuration.
    pub fn join_token(&self) -> Result<Option<String>> {
        match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!("cannot read the join token from {}", path.display())
                })?;
                Ok(Some(text.trim().to_owned()))
            }
            None => Ok(self.token.clone()),
        }
    }
}

//! The replicated store of a server and its etcd listener.

use super::certificates::Certificates;
use crate::config::{ServerConfig, config_host_port};
use crate::replica;
use anyhow::Result;
use kontiki_raft::{InitialMember, ReplicatedConfig, ReplicatedStore, TraceContext};
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Carries traces through the log.
pub struct Traces;

impl TraceContext for Traces {
    fn current(&self) -> Option<String> {
        kontiki_telemetry::current_traceparent()
    }

    fn join(&self, span: &tracing::Span, parent: &str) {
        kontiki_telemetry::set_parent(span, parent);
    }
}

/// Where the store lies in a data directory.
pub struct StoreDirs {
    /// The state machine.
    pub state: PathBuf,
    /// The log.
    pub log: PathBuf,
}

impl StoreDirs {
    /// Those of a data directory.
    pub fn of(data_dir: &Path) -> Self {
        let store = data_dir.join("store");
        Self {
            state: store.join("state"),
            log: store.join("log"),
        }
    }
}

/// Starts this server's replica. It serves once a quorum of replicas is there.
pub async fn start(
    config: &ServerConfig,
    certificates: &Certificates,
    registry: &mut Registry,
) -> Result<Arc<ReplicatedStore>> {
    let members = config
        .servers
        .iter()
        .map(|server| InitialMember {
            name: server.name.clone(),
            peer_address: config_host_port(&server.address, config.peer_port),
        })
        .collect();
    let own = config.own()?;
    let replicated = ReplicatedConfig {
        cluster_token: config.cluster_token.clone(),
        listen_peer: config_host_port(&config.listen_address.to_string(), config.peer_port),
        client_urls: vec![format!(
            "https://{}",
            config_host_port(&own.address, config.etcd_port)
        )],
        tls: Some(certificates.peers()?),
        traces: Some(Arc::new(Traces)),
        ..ReplicatedConfig::new(StoreDirs::of(&config.data_dir).log, &own.name, members)
    };
    let rebuild = config.rebuild_corrupt_member;
    let keys = config.encryption_key_file.as_deref();
    replica::start(&config.data_dir, replicated, rebuild, keys, registry).await
}

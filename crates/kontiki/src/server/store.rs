//! The replicated store of a server and its etcd listener.

use super::certificates::Certificates;
use crate::config::{ServerConfig, config_host_port};
use anyhow::{Context, Result};
use kontiki_raft::{InitialMember, ReplicatedConfig, ReplicatedStore, TraceContext};
use kontiki_rocks::{RocksEngine, RocksOptions};
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
    let dirs = StoreDirs::of(&config.data_dir);
    let engine = {
        let dir = dirs.state;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Opening reads files; the runtime's threads are not for that.
        tokio::task::spawn_blocking(move || RocksEngine::open(&dir, &RocksOptions::default()))
            .await??
    };
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
        ..ReplicatedConfig::new(dirs.log, &own.name, members)
    };
    let store = ReplicatedStore::start(replicated, Arc::new(engine), registry)
        .await
        .context("the store did not start")?;
    Ok(Arc::new(store))
}

//! The parts of a node, started and joined.

use super::identity::{Facts, Identity};
use super::metrics;
use crate::config::AgentConfig;
use anyhow::{Context, Result};
use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use ipnet::{IpNet, Ipv4Net};
use kontiki_client::events::{EventShape, EventSource};
use kontiki_client::{Client, Clock, EventRecorder};
use kontiki_dns::{Dns, DnsConfig};
use kontiki_kubelet::{Heartbeat, Kubelet, KubeletConfig};
use kontiki_network::{CniConfig, Network, NetworkConfig};
use kontiki_nodelink::NodeView;
use kontiki_nodelink::agent::{Agent, KubeletEndpoint};
use kontiki_object::Status;
use kontiki_proxy::{Caches, NftCommand, Proxy, ProxyConfig};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the CNI plugin for host ports needs.
const IPTABLES: [&str; 2] = ["/usr/sbin/iptables", "/sbin/iptables"];
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the node's parts until `cancel` is cancelled.
pub async fn run(config: AgentConfig, cancel: CancellationToken) -> Result<()> {
    anyhow::ensure!(
        config.cni_bin_dir.join("bridge").exists(),
        "the CNI plugins are not in {}; install containernetworking-plugins or set cniBinDir",
        config.cni_bin_dir.display()
    );
    let address = own_address(&config).await?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make {}", config.data_dir.display()))?;
    let identity = tokio::select! {
        identity = Identity::obtain(&config, address) => Arc::new(identity?),
        () = cancel.cancelled() => return Ok(()),
    };
    let endpoint = Arc::new(Endpoint::default());
    let link = Agent::start(
        kontiki_nodelink::agent::AgentConfig {
            node_name: config.node_name.clone(),
            servers: identity.servers.clone(),
            tls: identity.tls()?,
            server_timeout: SERVER_TIMEOUT,
        },
        endpoint.clone(),
        cancel.clone(),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(identity.clone().keep(cancel.clone()));
    let (registry, proxy_metrics) = metrics::register(link.view());
    let mut kubelet_config = kubelet_config(&config, &identity.facts, address)?;
    kubelet_config.metrics = Arc::new(registry);
    start_kubelet(kubelet_config, &link, &endpoint, &mut tasks, &cancel);
    let mut proxy = proxy_config(&config, &identity.facts)?;
    proxy.metrics = proxy_metrics;
    start_network(&config, &identity.facts, link.view(), &mut tasks, &cancel)?;
    start_proxy(proxy, link.view(), &mut tasks, &cancel);
    start_dns(&identity.facts, link.view(), &mut tasks, &cancel).await?;
    tracing::info!(node = config.node_name, %address, "the agent runs");
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the agent failed; the agent ends so that it is started anew")?;
    }
    Ok(())
}

/// The node's address: as configured, or the one that leads to a server.
async fn own_address(config: &AgentConfig) -> Result<IpAddr> {
    if let Some(address) = config.node_ip {
        return Ok(address);
    }
    let server = &config.servers[0];
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
    socket
        .connect(server)
        .await
        .with_context(|| format!("no route leads to {server}; set nodeIP"))?;
    Ok(socket.local_addr()?.ip())
}

/// Serves the servers' connections into the kubelet.
#[derive(Default)]
struct Endpoint {
    router: OnceLock<axum::Router>,
}

#[async_trait]
impl KubeletEndpoint for Endpoint {
    async fn serve(&self, io: tokio::io::DuplexStream) {
        // Before the kubelet is there the connection just closes.
        let Some(router) = self.router.get() else {
            return;
        };
        let service = TowerToHyperService::new(router.clone());
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        if let Err(error) = builder
            .serve_connection_with_upgrades(TokioIo::new(io), service)
            .await
        {
            tracing::debug!(error, "a server's connection into the kubelet broke");
        }
    }
}

/// Says through the node's stream that the kubelet lives.
struct LinkHeartbeat(Agent);

#[async_trait]
impl Heartbeat for LinkHeartbeat {
    async fn beat(&self, _node_name: &str) -> Result<(), Status> {
        if self.0.heartbeat().await {
            return Ok(());
        }
        Err(Status::unavailable(
            "the node is not connected to any server",
        ))
    }
}

fn kubelet_config(config: &AgentConfig, facts: &Facts, address: IpAddr) -> Result<KubeletConfig> {
    let socket = config
        .container_runtime_endpoint
        .trim_start_matches("unix://");
    let cluster_dns = facts
        .cluster_dns
        .parse()
        .context("the cluster's DNS address is malformed")?;
    Ok(KubeletConfig {
        root_dir: config.data_dir.join("kubelet"),
        cri_socket: socket.into(),
        log_dir: config.pod_logs_dir.clone(),
        cgroup_root: config.cgroup_root.clone(),
        cluster_dns: vec![cluster_dns],
        cluster_domain: facts.cluster_domain.clone(),
        max_pods: config.max_pods,
        node_labels: config.node_labels.clone(),
        ..KubeletConfig::new(config.node_name.clone(), address)
    })
}

fn start_kubelet(
    config: KubeletConfig,
    link: &Agent,
    endpoint: &Endpoint,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) {
    let client = Client::new(link.api(), "kubelet");
    let source = EventSource::new("kubelet", config.node_name.clone(), EventShape::Core);
    let recorder = EventRecorder::start(client.clone(), source, Clock::system(), cancel.clone());
    let heartbeat = Arc::new(LinkHeartbeat(link.clone()));
    let kubelet = Arc::new(Kubelet::new(
        config,
        client,
        link.view().clone(),
        recorder,
        heartbeat,
    ));
    let set = endpoint.router.set(kubelet.router());
    assert!(set.is_ok(), "the kubelet is started once");
    tasks.spawn(kubelet.run(cancel.clone()));
}

/// The addresses of all pods.
fn pod_range(facts: &Facts) -> Result<IpNet> {
    let cluster_cidr: Ipv4Net = facts
        .cluster_cidr
        .parse()
        .context("the cluster's pod network is malformed")?;
    Ok(IpNet::V4(cluster_cidr))
}

fn start_network(
    config: &AgentConfig,
    facts: &Facts,
    view: &NodeView,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) -> Result<()> {
    let service_cidr: Ipv4Net = facts
        .service_cidr
        .parse()
        .context("the cluster's service network is malformed")?;
    let network = NetworkConfig {
        service_ranges: vec![IpNet::V4(service_cidr)],
        cni: CniConfig {
            path: config.cni_conf_dir.join("10-kontiki.conflist"),
            port_map: IPTABLES.iter().any(|path| Path::new(path).exists()),
            state_directory: Some(config.data_dir.join("ipam")),
            ..CniConfig::default()
        },
        ..NetworkConfig::new(config.node_name.clone(), vec![pod_range(facts)?])
    };
    let (nodes, cancelled) = (view.nodes.clone(), cancel.clone());
    tasks.spawn(async move {
        if let Err(error) = Network::run(network, nodes, cancelled).await {
            tracing::error!(%error, "the pod network cannot work on this machine");
        }
    });
    Ok(())
}

fn proxy_config(config: &AgentConfig, facts: &Facts) -> Result<ProxyConfig> {
    Ok(ProxyConfig::new(
        config.node_name.clone(),
        vec![pod_range(facts)?],
    ))
}

fn start_proxy(
    proxy: ProxyConfig,
    view: &NodeView,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) {
    let caches = Caches {
        services: view.services.clone(),
        endpoint_slices: view.endpoint_slices.clone(),
    };
    let (view, cancel) = (view.clone(), cancel.clone());
    tasks.spawn(async move {
        // Until the view is complete, the rules of the last run stay as they are.
        if cancel.run_until_cancelled(view.synced()).await.is_some() {
            Proxy::run(proxy, caches, Arc::new(NftCommand), cancel).await;
        }
    });
}

/// The DNS address is one of this node's own: questions never leave it.
async fn start_dns(
    facts: &Facts,
    view: &NodeView,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
) -> Result<()> {
    let address: IpAddr = facts
        .cluster_dns
        .parse()
        .context("the cluster's DNS address is malformed")?;
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let status = tokio::process::Command::new("ip")
        .args([
            "address",
            "replace",
            &format!("{address}/{prefix}"),
            "dev",
            "lo",
        ])
        .stdout(Stdio::null())
        .status()
        .await
        .context("cannot run ip; install iproute2")?;
    anyhow::ensure!(
        status.success(),
        "the DNS address {address} could not be given to this node (ip: {status})"
    );
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let listen = vec![SocketAddr::new(address, 53)];
    let upstreams = kontiki_dns::upstreams_of(&resolv_conf, &listen);
    let config = DnsConfig {
        cluster_domain: facts.cluster_domain.clone(),
        ..DnsConfig::new(listen, upstreams)
    };
    let caches = kontiki_dns::Caches {
        services: view.services.clone(),
        endpoint_slices: view.endpoint_slices.clone(),
    };
    tasks.spawn(Dns::run(config, caches, cancel.clone()));
    Ok(())
}

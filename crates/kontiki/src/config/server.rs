//! The configuration of a server.

use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv4Net};
use kontiki_apiserver::admission::{self, AdmissionConfig};
use kontiki_telemetry::TelemetryConfig;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// `server.yaml`. Only `name` and `servers` have no default.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerConfig {
    /// This server's name, one of `servers`.
    pub name: String,
    /// Every server of the cluster, the same list on each.
    pub servers: Vec<ServerAddress>,
    /// Where everything lies.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// Tells clusters apart that have servers of the same names.
    #[serde(default = "cluster_token")]
    pub cluster_token: String,
    /// Port of the Kubernetes API and `NodeLink`.
    #[serde(default = "api_port")]
    pub api_port: u16,
    /// Port of the store's peers.
    #[serde(default = "peer_port")]
    pub peer_port: u16,
    /// Port of the etcd API.
    #[serde(default = "etcd_port")]
    pub etcd_port: u16,
    /// Address to listen on; by default every one.
    #[serde(default = "listen_address")]
    pub listen_address: IpAddr,
    /// Where Services get their addresses from.
    #[serde(default = "service_cidr", rename = "serviceCIDR")]
    pub service_cidr: Ipv4Net,
    /// Where pods get their addresses from.
    #[serde(default = "cluster_cidr", rename = "clusterCIDR")]
    pub cluster_cidr: Ipv4Net,
    /// The cluster's DNS domain.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
    /// Address of the cluster's DNS; by default the tenth of `serviceCIDR`.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Option<Ipv4Addr>,
    /// What runs beside store and API; by default everything.
    #[serde(default = "Component::all")]
    pub components: Vec<Component>,
    /// More names and addresses by which clients reach this server.
    #[serde(default)]
    pub extra_names: Vec<String>,
    /// Snapshots of the store that each server takes by itself.
    #[serde(default)]
    pub snapshots: Snapshots,
    /// Answer etcd clients' reads from this server alone when there is no leader;
    /// such answers say so.
    #[serde(default)]
    pub stale_reads: bool,
    /// Set this server's data aside if it is corrupt, and rebuild it from the others.
    #[serde(default = "rebuild_corrupt_member")]
    pub rebuild_corrupt_member: bool,
    /// Keys by which the store's data on the disk is encrypted; by default it is not.
    #[serde(default)]
    pub encryption_key_file: Option<PathBuf>,
    /// Which admission plugins are on.
    #[serde(default)]
    pub admission: Admission,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerAddress {
    /// Its name.
    pub name: String,
    /// Its host name or address, without a port.
    pub address: String,
}

/// Which admission plugins are on beside and instead of the default ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admission {
    /// Plugins to switch on.
    pub enable: Vec<String>,
    /// Plugins to switch off.
    pub disable: Vec<String>,
    /// The limits of `EventRateLimit`.
    pub event_limits: Vec<EventLimit>,
}

/// A limit of `EventRateLimit`, in the words of its own configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventLimit {
    /// `Server`, `Namespace`, `User` or `SourceAndObject`.
    #[serde(rename = "type")]
    pub ty: LimitType,
    /// Events a second in the long run.
    pub qps: u32,
    /// Events at once.
    pub burst: u32,
    /// How many keys are told apart.
    #[serde(default)]
    pub cache_size: usize,
}

/// What shares a limit.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum LimitType {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl Admission {
    /// As the API server takes it.
    pub fn to_api(&self) -> AdmissionConfig {
        let limits = self.event_limits.iter().map(|limit| admission::EventLimit {
            ty: match limit.ty {
                LimitType::Server => admission::LimitType::Server,
                LimitType::Namespace => admission::LimitType::Namespace,
                LimitType::User => admission::LimitType::User,
                LimitType::SourceAndObject => admission::LimitType::SourceAndObject,
            },
            qps: limit.qps,
            burst: limit.burst,
            cache_size: limit.cache_size,
        });
        AdmissionConfig {
            enable: self.enable.clone(),
            disable: self.disable.clone(),
            event_limits: limits.collect(),
        }
    }
}

/// When snapshots are taken, where they lie, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Snapshots {
    /// Hours between two; 0: none are taken.
    pub every_hours: u64,
    /// How many are kept.
    pub keep: usize,
    /// The folder; by default `snapshots` in the data directory.
    pub dir: Option<PathBuf>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            every_hours: 12,
            keep: 5,
            dir: None,
        }
    }
}

/// What a server can run beside store and API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// Finds nodes for pods.
    Scheduler,
    /// The control loops.
    ControllerManager,
    /// The Service by which the cluster's DNS is known.
    Dns,
}

impl Component {
    fn all() -> Vec<Self> {
        vec![Self::Scheduler, Self::ControllerManager, Self::Dns]
    }
}

fn rebuild_corrupt_member() -> bool {
    true
}

fn data_dir() -> PathBuf {
    "/var/lib/kontiki".into()
}

fn cluster_token() -> String {
    "kontiki".to_owned()
}

fn api_port() -> u16 {
    6443
}

fn peer_port() -> u16 {
    2380
}

fn etcd_port() -> u16 {
    2379
}

fn listen_address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

fn service_cidr() -> Ipv4Net {
    "10.96.0.0/12".parse().expect("a constant network")
}

fn cluster_cidr() -> Ipv4Net {
    "10.244.0.0/16".parse().expect("a constant network")
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

impl ServerConfig {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<()> {
        self.own()?;
        if self.servers.len().is_multiple_of(2) {
            tracing::warn!(
                servers = self.servers.len(),
                "an even number of servers tolerates no more losses than one server fewer"
            );
        }
        if self.service_cidr.contains(&self.cluster_cidr)
            || self.cluster_cidr.contains(&self.service_cidr)
        {
            bail!(
                "serviceCIDR {} and clusterCIDR {} overlap; choose networks apart",
                self.service_cidr,
                self.cluster_cidr
            );
        }
        if self.service_cidr.prefix_len() > 24 {
            bail!(
                "serviceCIDR {} is too small; use a prefix of 24 or shorter",
                self.service_cidr
            );
        }
        Ok(())
    }

    /// This server's own entry.
    pub fn own(&self) -> Result<&ServerAddress> {
        self.servers
            .iter()
            .find(|server| server.name == self.name)
            .with_context(|| {
                let names: Vec<&str> = self
                    .servers
                    .iter()
                    .map(|server| server.name.as_str())
                    .collect();
                format!("name {:?} is not among the servers {names:?}", self.name)
            })
    }

    /// Whether a component runs in this server.
    pub fn runs(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// `host:port` of every server's API.
    pub fn api_addresses(&self) -> Vec<String> {
        self.servers
            .iter()
            .map(|server| host_port(&server.address, self.api_port))
            .collect()
    }

    /// Address of the Service `kubernetes`: the first of the range.
    pub fn service_address(&self) -> Ipv4Addr {
        self.nth_service_address(1)
    }

    /// Address of the cluster's DNS.
    pub fn dns_address(&self) -> Ipv4Addr {
        self.cluster_dns
            .unwrap_or_else(|| self.nth_service_address(10))
    }

    fn nth_service_address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + n)
    }

    /// The service range in the form other parts take.
    pub fn service_net(&self) -> IpNet {
        IpNet::V4(self.service_cidr)
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<ServerConfig> {
        let config: ServerConfig = serde_yaml_ng::from_str(yaml)?;
        config.validate()?;
        Ok(config)
    }

    const THREE: &str = "name: a\nservers:\n- {name: a, address: 10.0.0.1}\n- {name: b, address: 10.0.0.2}\n- {name: c, address: 10.0.0.3}\n";

    #[test]
    fn names_and_addresses_are_all_a_configuration_needs() {
        let config = parse(THREE).expect("valid");
        assert_eq!(config.service_address(), Ipv4Addr::new(10, 96, 0, 1));
        assert_eq!(config.dns_address(), Ipv4Addr::new(10, 96, 0, 10));
        assert_eq!(config.api_addresses()[2], "10.0.0.3:6443");
        assert!(config.runs(Component::Scheduler) && config.runs(Component::ControllerManager));
    }

    #[test]
    fn only_the_components_that_are_named_run() {
        let config = parse(&format!("{THREE}components: [scheduler]")).expect("valid");
        assert!(config.runs(Component::Scheduler));
        assert!(!config.runs(Component::ControllerManager) && !config.runs(Component::Dns));
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        for (yaml, reason) in [
            ("name: x\nservers: [{name: a, address: h}]", "not among"),
            (&format!("{THREE}clusterCIDR: 10.96.0.0/16"), "overlap"),
            (&format!("{THREE}serviceCIDR: 10.96.0.0/30"), "too small"),
            (&format!("{THREE}dataDri: /x"), "dataDri"),
        ] {
            let error = format!("{:#}", parse(yaml).expect_err("refused"));
            assert!(error.contains(reason), "{error}");
        }
    }
}

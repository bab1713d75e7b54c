//! What the certificates of Kontiki's own parts say.

use crate::request::Usages;
use jiff::SignedDuration;
use std::net::IpAddr;

/// What a certificate says about its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Common name: the user.
    pub common_name: String,
    /// Organizations: the user's groups.
    pub organizations: Vec<String>,
    /// DNS names that the holder answers to.
    pub dns_names: Vec<String>,
    /// Addresses that the holder answers at.
    pub ip_addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usages: Usages,
    /// How long it is valid.
    pub lifetime: SignedDuration,
}

const YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);

/// The names and addresses by which clients reach a server.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    /// Host names and addresses, as the operator and the machine give them.
    pub hosts: Vec<String>,
    /// The cluster's DNS domain, `cluster.local`.
    pub cluster_domain: String,
    /// Addresses of the Service `kubernetes`.
    pub service_addresses: Vec<IpAddr>,
}

impl Profile {
    /// A client of the API server.
    #[must_use]
    pub fn client(common_name: &str, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
            usages: Usages::CLIENT,
            lifetime: YEAR,
            ..Self::default()
        }
    }

    /// The administrator, whom no policy can lock out.
    #[must_use]
    pub fn admin() -> Self {
        Self::client("kubernetes-admin", &["system:masters"])
    }

    /// The scheduler.
    #[must_use]
    pub fn scheduler() -> Self {
        Self::client("system:kube-scheduler", &[])
    }

    /// The controller manager.
    #[must_use]
    pub fn controller_manager() -> Self {
        Self::client("system:kube-controller-manager", &[])
    }

    /// A server that speaks to kubelets and to other servers.
    #[must_use]
    pub fn server_client(host: &str) -> Self {
        Self::client(&format!("system:apiserver:{host}"), &["system:masters"])
    }

    /// The front proxy, which vouches for users by request headers.
    #[must_use]
    pub fn front_proxy_client() -> Self {
        Self::client("front-proxy-client", &[])
    }

    /// A node as a client.
    #[must_use]
    pub fn node_client(node: &str) -> Self {
        Self::client(&format!("system:node:{node}"), &["system:nodes"])
    }

    /// A node as a server.
    #[must_use]
    pub fn node_serving(node: &str, hosts: &[String]) -> Self {
        Self {
            usages: Usages::SERVER,
            ..Self::node_client(node)
        }
        .hosts(hosts)
    }

    /// An API server's own certificate.
    #[must_use]
    pub fn server_serving(names: &ServerNames) -> Self {
        let mut hosts: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .map(str::to_owned)
            .to_vec();
        if !names.cluster_domain.is_empty() {
            hosts.push(format!("kubernetes.default.svc.{}", names.cluster_domain));
        }
        hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        hosts.extend(names.service_addresses.iter().map(ToString::to_string));
        hosts.extend(names.hosts.iter().cloned());
        Self {
            usages: Usages::SERVER,
            ..Self::client("kube-apiserver", &[])
        }
        .hosts(&hosts)
    }

    /// A member of the store: serves clients and peers, and is a peer's client.
    #[must_use]
    pub fn store_member(name: &str, hosts: &[String]) -> Self {
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        Self {
            usages: Usages::SERVER.and(Usages::CLIENT),
            ..Self::client(name, &[])
        }
        .hosts(hosts)
        .hosts(&local)
    }

    /// A client of the store.
    #[must_use]
    pub fn store_client(name: &str) -> Self {
        Self::client(name, &[])
    }

    /// Adds names and addresses, each once.
    #[must_use]
    pub fn hosts(mut self, hosts: &[String]) -> Self {
        for host in hosts {
            match host.parse::<IpAddr>() {
                Ok(address) if !self.ip_addresses.contains(&address) => {
                    self.ip_addresses.push(address);
                }
                Err(_) if !self.dns_names.contains(host) => self.dns_names.push(host.clone()),
                _ => {}
            }
        }
        self
    }

    /// With another lifetime.
    #[must_use]
    pub fn valid_for(mut self, lifetime: SignedDuration) -> Self {
        self.lifetime = lifetime;
        self
    }
}

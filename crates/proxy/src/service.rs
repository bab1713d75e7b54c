//! What each port of each Service leads to, as seen from one node.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort as Port, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kontiki_object::SharedObject;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Services with this label are another proxy's.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const AFFINITY_SECONDS_DEFAULT: i32 = 10_800;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the protocols'")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From the API's spelling; empty is TCP.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// As nftables spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where a connection may be sent.
pub type Destination = SocketAddr;

/// What becomes of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// They go to one of these; never empty.
    To(BTreeSet<Destination>),
    /// There are destinations, but none on this node, and the policy is `Local`.
    Drop,
    /// There are no destinations at all.
    Reject,
}

/// Keeps a client at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// For so long after its last connection.
    pub timeout_seconds: i32,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name/protocol/port`, unique.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port on the addresses below.
    pub port: u16,
    /// Addresses inside the cluster.
    pub cluster_ips: BTreeSet<IpAddr>,
    /// Addresses that outside clients use: external and load balancer addresses.
    pub external_ips: BTreeSet<IpAddr>,
    /// Of those, the load balancer's, which `source_ranges` guard.
    pub load_balancer_ips: BTreeSet<IpAddr>,
    /// Who may use the load balancer's addresses; empty for everybody.
    pub source_ranges: Vec<IpNet>,
    /// Port on every address of the node; 0 for none.
    pub node_port: u16,
    /// Where connections from inside the cluster go.
    pub internal: Traffic,
    /// Where connections from outside go.
    pub external: Traffic,
    /// Whether outside clients reach destinations on this node only, and with
    /// their own address.
    pub is_external_local: bool,
    /// Session affinity.
    pub affinity: Option<Affinity>,
}

/// All Service ports that this node serves, by name. Objects that make no
/// sense are passed over.
#[must_use]
pub fn service_ports(
    services: &[SharedObject],
    slices: &[SharedObject],
    node_name: &str,
) -> BTreeMap<String, ServicePort> {
    let mut by_service: BTreeMap<(String, String), Vec<&SharedObject>> = BTreeMap::new();
    for slice in slices {
        if let Some(name) = slice.label(SERVICE_NAME) {
            let key = (slice.namespace().to_owned(), name.to_owned());
            by_service.entry(key).or_default().push(slice);
        }
    }
    let mut all = BTreeMap::new();
    for object in services {
        let Ok(service) = object.typed::<Service>() else {
            tracing::warn!(service = %object.key(), "malformed Service passed over");
            continue;
        };
        let Some(spec) = service.spec.as_ref().filter(|spec| is_served(object, spec)) else {
            continue;
        };
        let key = (object.namespace().to_owned(), object.name().to_owned());
        let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
        for port in spec.ports.iter().flatten() {
            if let Some(port) = service_port(object, &service, spec, port, slices, node_name) {
                all.insert(port.name.clone(), port);
            }
        }
    }
    all
}

fn is_served(object: &SharedObject, spec: &ServiceSpec) -> bool {
    let has_address = spec
        .cluster_ip
        .as_deref()
        .is_some_and(|ip| !ip.is_empty() && ip != "None");
    has_address
        && spec.type_.as_deref() != Some("ExternalName")
        && object.label(OTHER_PROXY).is_none()
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeSet<IpAddr> {
    texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

fn service_port(
    object: &SharedObject,
    service: &Service,
    spec: &ServiceSpec,
    port: &Port,
    slices: &[&SharedObject],
    node_name: &str,
) -> Option<ServicePort> {
    let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or_default())?;
    let number = port_number(port.port)?;
    let port_name = port.name.clone().unwrap_or_default();
    let found = destinations(slices, &port_name, protocol, node_name);
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let mut cluster_ips = addresses(spec.cluster_ips.iter().flatten());
    cluster_ips.extend(addresses(&spec.cluster_ip));
    let status = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    let load_balancer_ips: BTreeSet<IpAddr> = status
        .and_then(|status| status.ingress.as_ref())
        .into_iter()
        .flatten()
        // A balancer that proxies by itself is reached like any other host.
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect();
    let mut external_ips = addresses(spec.external_ips.iter().flatten());
    external_ips.extend(&load_balancer_ips);
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| Affinity {
        timeout_seconds: spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .unwrap_or(AFFINITY_SECONDS_DEFAULT),
    });
    let title = if port_name.is_empty() {
        number.to_string()
    } else {
        port_name
    };
    Some(ServicePort {
        name: format!("{}/{}/{title}", object.key(), protocol.name()),
        protocol,
        port: number,
        cluster_ips,
        external_ips,
        load_balancer_ips,
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .filter_map(|range| range.trim().parse().ok())
            .collect(),
        node_port: port.node_port.and_then(port_number).unwrap_or_default(),
        internal: found.traffic(is_local(&spec.internal_traffic_policy)),
        external: found.traffic(is_local(&spec.external_traffic_policy)),
        is_external_local: is_local(&spec.external_traffic_policy),
        affinity,
    })
}

/// Destinations by how good they are.
#[derive(Default)]
struct Found {
    ready: BTreeSet<Destination>,
    ready_local: BTreeSet<Destination>,
    /// On their way out, but still answering: used when nothing better is left.
    draining: BTreeSet<Destination>,
    draining_local: BTreeSet<Destination>,
}

impl Found {
    fn traffic(&self, is_local: bool) -> Traffic {
        let first = |sets: [&BTreeSet<Destination>; 2]| {
            sets.into_iter().find(|set| !set.is_empty()).cloned()
        };
        let anywhere = first([&self.ready, &self.draining]);
        let here = first([&self.ready_local, &self.draining_local]);
        match (is_local, anywhere, here) {
            (false, Some(all), _) => Traffic::To(all),
            (true, _, Some(local)) => Traffic::To(local),
            (true, Some(_), None) => Traffic::Drop,
            (_, None, _) => Traffic::Reject,
        }
    }
}

fn destinations(
    slices: &[&SharedObject],
    port_name: &str,
    protocol: Protocol,
    node_name: &str,
) -> Found {
    let mut found = Found::default();
    for object in slices {
        let Ok(slice) = object.typed::<EndpointSlice>() else {
            continue;
        };
        let numbers: Vec<u16> = slice
            .ports
            .iter()
            .flatten()
            .filter(|port| {
                port.name.as_deref().unwrap_or_default() == port_name
                    && Protocol::parse(port.protocol.as_deref().unwrap_or_default())
                        == Some(protocol)
            })
            .filter_map(|port| port_number(port.port?))
            .collect();
        for endpoint in slice.endpoints.iter().flatten() {
            // Addresses are interchangeable; only the first is used, as upstream does.
            let address = endpoint
                .addresses
                .first()
                .and_then(|text| text.parse().ok());
            for number in &numbers {
                if let Some(address) = address {
                    found.take(endpoint, SocketAddr::new(address, *number), node_name);
                }
            }
        }
    }
    found
}

impl Found {
    fn take(&mut self, endpoint: &Endpoint, to: Destination, node_name: &str) {
        let conditions = endpoint.conditions.as_ref();
        // What is not known counts as good.
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
        let is_local = endpoint.node_name.as_deref() == Some(node_name);
        if ready {
            self.ready.insert(to);
            if is_local {
                self.ready_local.insert(to);
            }
        } else if serving && terminating {
            self.draining.insert(to);
            if is_local {
                self.draining_local.insert(to);
            }
        }
    }
}

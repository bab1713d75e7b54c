//! What matters of Services and their endpoints, read from the objects.

use kontiki_object::{Object, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(value: &Value) -> Self {
        match value.as_str() {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }

    /// As nftables writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// One address and port behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Whether it runs on this node.
    pub local: bool,
}

/// One port of one Service, with the endpoints that traffic may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name` of the Service.
    pub service: String,
    /// The port's name; may be empty.
    pub port_name: String,
    /// The transport.
    pub protocol: Option<Protocol>,
    /// The Service's port.
    pub port: u16,
    /// The port on every node, if it has one.
    pub node_port: Option<u16>,
    /// The cluster addresses.
    pub cluster_ips: Vec<Ipv4Addr>,
    /// External addresses that the user routes to nodes.
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses of a load balancer that keeps them as destination.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// Who may use the load balancer; empty: everyone.
    pub source_ranges: Vec<String>,
    /// Traffic from inside goes only to endpoints of its own node.
    pub internal_local: bool,
    /// Traffic from outside goes only to endpoints of the node it came to.
    pub external_local: bool,
    /// A client keeps its endpoint for so many seconds.
    pub affinity_seconds: Option<u32>,
    /// Where traffic may go.
    pub endpoints: BTreeSet<Endpoint>,
}

impl ServicePort {
    /// The transport; TCP unless told otherwise.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::Tcp)
    }

    /// The endpoints of this node.
    pub fn local_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.local)
    }
}

fn addresses(value: Option<&Value>) -> Vec<Ipv4Addr> {
    let texts = value.and_then(Value::as_array).into_iter().flatten();
    texts
        .filter_map(|text| text.as_str()?.parse().ok())
        .collect()
}

fn port(value: &Value) -> Option<u16> {
    value
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

/// The ports of every Service that has rules, with their endpoints. Headless
/// and external-name Services have none.
pub fn ports<'a>(
    services: impl IntoIterator<Item = &'a Object>,
    slices: impl IntoIterator<Item = &'a Object>,
    own_node: &str,
) -> Vec<ServicePort> {
    let mut by_service: BTreeMap<String, Vec<&Object>> = BTreeMap::new();
    for slice in slices {
        if let Some(name) = slice.label("kubernetes.io/service-name")
            && slice.str_at(&["addressType"]) == Some("IPv4")
        {
            by_service
                .entry(format!("{}/{name}", slice.namespace()))
                .or_default()
                .push(slice);
        }
    }
    let none = Vec::new();
    services
        .into_iter()
        .flat_map(|service| {
            let slices = by_service.get(&service.key()).unwrap_or(&none);
            service_ports(service, slices, own_node)
        })
        .collect()
}

fn service_ports(service: &Object, slices: &[&Object], own_node: &str) -> Vec<ServicePort> {
    let mut cluster_ips = addresses(service.get(&["spec", "clusterIPs"]));
    if cluster_ips.is_empty() {
        cluster_ips.extend(
            service
                .str_at(&["spec", "clusterIP"])
                .and_then(|ip| ip.parse::<Ipv4Addr>().ok()),
        );
    }
    if cluster_ips.is_empty() || service.str_at(&["spec", "type"]) == Some("ExternalName") {
        return Vec::new();
    }
    if service
        .label("service.kubernetes.io/service-proxy-name")
        .is_some()
    {
        // Another proxy was asked to serve it.
        return Vec::new();
    }
    let policy = |field: &str| service.str_at(&["spec", field]) == Some("Local");
    let base = ServicePort {
        service: service.key(),
        cluster_ips,
        external_ips: addresses(service.get(&["spec", "externalIPs"])),
        load_balancer_ips: load_balancer_ips(service),
        source_ranges: source_ranges(service),
        internal_local: policy("internalTrafficPolicy"),
        external_local: policy("externalTrafficPolicy"),
        affinity_seconds: affinity(service),
        ..ServicePort::default()
    };
    let ports = service
        .get(&["spec", "ports"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    ports
        .filter_map(|spec| {
            let name = spec["name"].as_str().unwrap_or_default();
            let protocol = Protocol::parse(&spec["protocol"]);
            Some(ServicePort {
                port_name: name.to_owned(),
                protocol: Some(protocol),
                port: port(&spec["port"])?,
                node_port: port(&spec["nodePort"]),
                endpoints: endpoints(slices, name, protocol, own_node),
                ..base.clone()
            })
        })
        .collect()
}

fn load_balancer_ips(service: &Object) -> Vec<Ipv4Addr> {
    let ingress = service
        .get(&["status", "loadBalancer", "ingress"])
        .and_then(Value::as_array);
    ingress
        .into_iter()
        .flatten()
        .filter(|ingress| ingress["ipMode"] != "Proxy")
        .filter_map(|ingress| ingress["ip"].as_str()?.parse().ok())
        .collect()
}

fn source_ranges(service: &Object) -> Vec<String> {
    let ranges = service
        .get(&["spec", "loadBalancerSourceRanges"])
        .and_then(Value::as_array);
    // Only what is a network goes into a rule: the text comes from a user.
    let network = |text: &Value| {
        text.as_str()?
            .trim()
            .parse::<ipnet::Ipv4Net>()
            .ok()
            .map(|net| net.to_string())
    };
    ranges.into_iter().flatten().filter_map(network).collect()
}

fn affinity(service: &Object) -> Option<u32> {
    if service.str_at(&["spec", "sessionAffinity"]) != Some("ClientIP") {
        return None;
    }
    let seconds = service.get(&[
        "spec",
        "sessionAffinityConfig",
        "clientIP",
        "timeoutSeconds",
    ]);
    let seconds = seconds
        .and_then(Value::as_u64)
        .and_then(|seconds| u32::try_from(seconds).ok());
    Some(seconds.unwrap_or(10_800))
}

/// Ready endpoints; if there are none, those that still serve while they
/// terminate (KEP-1669).
fn endpoints(
    slices: &[&Object],
    port_name: &str,
    protocol: Protocol,
    own_node: &str,
) -> BTreeSet<Endpoint> {
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let ports = slice
            .get(&["ports"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let matching = ports
            .filter(|port| port["name"].as_str().unwrap_or_default() == port_name)
            .filter(|port| Protocol::parse(&port["protocol"]) == protocol)
            .find_map(|spec| port(&spec["port"]));
        let Some(port) = matching else { continue };
        for endpoint in slice
            .get(&["endpoints"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let condition = |name: &str| endpoint["conditions"][name].as_bool();
            let Some(address) = endpoint["addresses"][0]
                .as_str()
                .and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let found = Endpoint {
                address,
                port,
                local: endpoint["nodeName"] == own_node,
            };
            if condition("ready").unwrap_or(true) {
                ready.insert(found);
            } else if condition("serving").unwrap_or(false)
                && condition("terminating").unwrap_or(false)
            {
                terminating.insert(found);
            }
        }
    }
    if ready.is_empty() { terminating } else { ready }
}

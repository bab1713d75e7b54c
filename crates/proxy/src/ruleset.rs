//! The nftables rules of one address family.
//!
//! Shape: a packet's destination is looked up in one map and leads to the chain
//! of that Service port; the chain picks a destination by one numbered map. The
//! number of Services does not lengthen the path of a packet.

use crate::service::{Destination, Protocol, ServicePort, Traffic};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// The name of our tables.
pub const TABLE: &str = "kontiki-proxy";
/// The bit of the packet mark that asks for masquerading; kube-proxy's own.
const MASQUERADE: &str = "0x4000";

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the families'")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// As nftables spells it, for tables and for addresses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1",
        }
    }

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// Chains, maps and sets of one family, ready to be compared and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub(crate) family: Family,
    /// Base chains with their hooks, and the maps and sets: what never changes.
    pub(crate) frame: String,
    /// Sets that remember clients, with their declaration.
    pub(crate) affinity_sets: BTreeMap<String, String>,
    /// Rules of each Service chain.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Elements of each map (with a verdict) and set (without).
    pub(crate) elements: BTreeMap<&'static str, BTreeMap<String, String>>,
}

const SERVICES: &str = "service-ips";
const NODE_PORTS: &str = "service-nodeports";
const NO_ENDPOINTS: &str = "no-endpoint-services";
const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
const FIREWALL: &str = "firewall-ips";
const CLUSTER_IPS: &str = "cluster-ips";
const HAIRPIN: &str = "hairpin-connections";

impl Ruleset {
    /// The rules for these Service ports. `pod_ranges` are the addresses that
    /// need no masquerading, because every destination can answer them.
    #[must_use]
    pub fn build<'a>(
        family: Family,
        ports: impl IntoIterator<Item = &'a ServicePort>,
        pod_ranges: &[IpNet],
    ) -> Self {
        let ranges: Vec<String> = pod_ranges
            .iter()
            .filter(|range| family.has(range.addr()))
            .map(ToString::to_string)
            .collect();
        let mut builder = Builder {
            set: Self {
                family,
                frame: frame(family),
                affinity_sets: BTreeMap::new(),
                chains: BTreeMap::new(),
                elements: [
                    SERVICES,
                    NODE_PORTS,
                    NO_ENDPOINTS,
                    NO_ENDPOINT_NODE_PORTS,
                    FIREWALL,
                    CLUSTER_IPS,
                    HAIRPIN,
                ]
                .map(|name| (name, BTreeMap::new()))
                .into(),
            },
            ranges,
        };
        for port in ports {
            builder.add(port);
        }
        builder.set
    }
}

fn frame(family: Family) -> String {
    // TCP is refused by a reset: the kernel sends only a few ICMP errors a
    // second, and a client that gets none waits for its next attempt.
    let (ip, kind, loopback) = (family.name(), family.address_type(), family.loopback());
    let service = format!("{ip} daddr . meta l4proto . th dport");
    let node_port =
        format!("fib daddr type local {ip} daddr != {loopback} meta l4proto . th dport");
    format!(
        "\tmap {SERVICES} {{ type {kind} . inet_proto . inet_service : verdict; }}
\tmap {NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
\tmap {NO_ENDPOINTS} {{ type {kind} . inet_proto . inet_service : verdict; }}
\tmap {NO_ENDPOINT_NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
\tmap {FIREWALL} {{ type {kind} . inet_proto . inet_service : verdict; }}
\tset {CLUSTER_IPS} {{ type {kind}; }}
\tset {HAIRPIN} {{ type {kind} . {kind} . inet_proto . inet_service; }}
\tchain reject-chain {{
\t\tmeta l4proto tcp reject with tcp reset
\t\treject
\t}}
\tchain mark-for-masquerade {{ meta mark set meta mark or {MASQUERADE}; }}
\tchain services {{
\t\t{service} vmap @{SERVICES}
\t\t{node_port} vmap @{NODE_PORTS}
\t}}
\tchain no-endpoints {{
\t\t{service} vmap @{NO_ENDPOINTS}
\t\t{node_port} vmap @{NO_ENDPOINT_NODE_PORTS}
\t}}
\tchain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
\tchain nat-output {{ type nat hook output priority -100; jump services; }}
\tchain nat-postrouting {{
\t\ttype nat hook postrouting priority srcnat;
\t\tct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @{HAIRPIN} masquerade fully-random
\t\tmeta mark and {MASQUERADE} == 0 return
\t\tmeta mark set meta mark xor {MASQUERADE}
\t\tmasquerade fully-random
\t}}
\tchain filter-prerouting {{
\t\ttype filter hook prerouting priority dstnat - 10;
\t\tct state new {service} vmap @{FIREWALL}
\t}}
\tchain filter-input {{ type filter hook input priority -110; ct state new jump no-endpoints; }}
\tchain filter-forward {{
\t\ttype filter hook forward priority -110;
\t\tct state new jump no-endpoints
\t\tct state new {ip} daddr @{CLUSTER_IPS} goto reject-chain
\t}}
\tchain filter-output {{ type filter hook output priority -110; ct state new jump no-endpoints; }}
\tchain filter-output-post-dnat {{
\t\ttype filter hook output priority -90;
\t\tct state new {ip} daddr @{CLUSTER_IPS} goto reject-chain
\t}}
"
    )
}

struct Builder {
    set: Ruleset,
    ranges: Vec<String>,
}

impl Builder {
    fn element(&mut self, map: &'static str, key: String, verdict: impl Into<String>) {
        let elements = self.set.elements.entry(map).or_default();
        // The first Service that claims an address and port keeps it, so that
        // two with the same external address never make the load fail.
        elements.entry(key).or_insert_with(|| verdict.into());
    }

    /// `tcp dport 80` after an address.
    fn key(address: IpAddr, port: &ServicePort, number: u16) -> String {
        format!("{address} . {} . {number}", port.protocol.name())
    }

    fn own(&self, addresses: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        let family = self.set.family;
        addresses
            .iter()
            .copied()
            .filter(|a| family.has(*a))
            .collect()
    }

    /// What of the traffic is of this family.
    fn destinations(&self, traffic: &Traffic) -> Result<Vec<Destination>, &'static str> {
        let family = self.set.family;
        match traffic {
            Traffic::To(all) => {
                let own: Vec<_> = all.iter().copied().filter(|d| family.has(d.ip())).collect();
                if own.is_empty() {
                    return Err("goto reject-chain");
                }
                Ok(own)
            }
            Traffic::Drop => Err("drop"),
            Traffic::Reject => Err("goto reject-chain"),
        }
    }

    fn add(&mut self, port: &ServicePort) {
        let cluster_ips = self.own(&port.cluster_ips);
        let external_ips = self.own(&port.external_ips);
        if cluster_ips.is_empty() && external_ips.is_empty() {
            return;
        }
        for address in &cluster_ips {
            self.element(CLUSTER_IPS, address.to_string(), "");
        }
        self.guard(port);
        let cluster = self.internal(port, &cluster_ips);
        self.external(port, cluster.as_deref(), &external_ips);
    }

    /// Keeps strangers away from the load balancer's addresses.
    fn guard(&mut self, port: &ServicePort) {
        let family = self.set.family;
        let allowed: Vec<String> = port
            .source_ranges
            .iter()
            .filter(|range| family.has(range.addr()))
            .map(ToString::to_string)
            .collect();
        let addresses = self.own(&port.load_balancer_ips);
        if port.source_ranges.is_empty() || addresses.is_empty() {
            return;
        }
        let chain = format!("firewall-{}", port.name);
        let rule = if allowed.is_empty() {
            "drop".to_owned()
        } else {
            format!(
                "{} saddr != {{ {} }} drop",
                family.name(),
                allowed.join(", ")
            )
        };
        self.set.chains.insert(chain.clone(), vec![rule]);
        for address in addresses {
            let key = Self::key(address, port, port.port);
            self.element(FIREWALL, key, format!("goto {chain}"));
        }
    }

    /// The chain for connections from inside; gives its name if there is one.
    fn internal(&mut self, port: &ServicePort, addresses: &[IpAddr]) -> Option<String> {
        let ip = self.set.family.name();
        let protocol = port.protocol.name();
        match self.destinations(&port.internal) {
            Err(verdict) => {
                for address in addresses {
                    let key = Self::key(*address, port, port.port);
                    self.element(NO_ENDPOINTS, key, verdict);
                }
                None
            }
            Ok(destinations) => {
                let chain = format!("service-{}", port.name);
                let mut rules = Vec::new();
                for address in addresses {
                    if !self.ranges.is_empty() {
                        let ranges = self.ranges.join(", ");
                        rules.push(format!(
                            "{ip} daddr {address} {protocol} dport {} {ip} saddr != {{ {ranges} }} jump mark-for-masquerade",
                            port.port
                        ));
                    }
                    let key = Self::key(*address, port, port.port);
                    self.element(SERVICES, key, format!("goto {chain}"));
                }
                rules.extend(self.balance(port, "", &destinations));
                self.set.chains.insert(chain.clone(), rules);
                Some(chain)
            }
        }
    }

    /// The chain for connections from outside, if anything leads to it.
    fn external(&mut self, port: &ServicePort, cluster: Option<&str>, addresses: &[IpAddr]) {
        if addresses.is_empty() && port.node_port == 0 {
            return;
        }
        let family = self.set.family.name();
        let verdict = match (self.destinations(&port.external), cluster) {
            (Err(verdict), _) => Err(verdict),
            (Ok(destinations), cluster) => {
                let chain = format!("external-{}", port.name);
                let mut rules = Vec::new();
                if port.is_external_local {
                    // Pods and the node itself are not outside: they may go anywhere.
                    if let Some(cluster) = cluster {
                        if !self.ranges.is_empty() {
                            let ranges = self.ranges.join(", ");
                            rules.push(format!("{family} saddr {{ {ranges} }} goto {cluster}"));
                        }
                        rules.push("fib saddr type local jump mark-for-masquerade".into());
                        rules.push(format!("fib saddr type local goto {cluster}"));
                    }
                    rules.extend(self.balance(port, "local-", &destinations));
                } else {
                    rules.push("jump mark-for-masquerade".into());
                    rules.extend(self.balance(port, "external-", &destinations));
                }
                self.set.chains.insert(chain.clone(), rules);
                Ok(format!("goto {chain}"))
            }
        };
        let (map, node_map, verdict) = match verdict {
            Ok(chain) => (SERVICES, NODE_PORTS, chain),
            Err(none) => (NO_ENDPOINTS, NO_ENDPOINT_NODE_PORTS, none.to_owned()),
        };
        for address in addresses {
            self.element(map, Self::key(*address, port, port.port), &*verdict);
        }
        if port.node_port != 0 {
            let key = format!("{} . {}", port.protocol.name(), port.node_port);
            self.element(node_map, key, &*verdict);
        }
    }

    /// Rules that pick one destination; with affinity, the client's last one.
    fn balance(&mut self, port: &ServicePort, prefix: &str, all: &[Destination]) -> Vec<String> {
        for destination in all {
            let (address, number) = (destination.ip(), destination.port());
            let protocol = port.protocol.name();
            let key = format!("{address} . {address} . {protocol} . {number}");
            self.element(HAIRPIN, key, "");
        }
        match port.affinity {
            None => vec![self.pick(port.protocol, all)],
            Some(affinity) => self.pick_again(port, prefix, all, affinity.timeout_seconds),
        }
    }

    fn pick(&self, protocol: Protocol, all: &[Destination]) -> String {
        let (ip, protocol) = (self.set.family.name(), protocol.name());
        if let [only] = all {
            return format!("meta l4proto {protocol} dnat to {only}");
        }
        let mut map = String::new();
        for (number, to) in all.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let _ = write!(map, "{comma}{number} : {} . {}", to.ip(), to.port());
        }
        let count = all.len();
        format!(
            "meta l4proto {protocol} dnat {ip} addr . port to numgen random mod {count} map {{ {map} }}"
        )
    }

    fn pick_again(
        &mut self,
        port: &ServicePort,
        prefix: &str,
        all: &[Destination],
        seconds: i32,
    ) -> Vec<String> {
        let ip = self.set.family.name();
        let mut rules = Vec::new();
        let mut map = Vec::new();
        for (number, to) in all.iter().enumerate() {
            let label = to.to_string().replace(['[', ']'], "").replace(':', ".");
            let name = format!("{prefix}{}/{label}", port.name);
            let (set, chain) = (
                format!("affinity-{name}/{seconds}"),
                format!("endpoint-{name}"),
            );
            self.set.affinity_sets.insert(
                set.clone(),
                format!(
                    "{{ type {}; size 65535; flags dynamic,timeout; timeout {seconds}s; }}",
                    self.set.family.address_type()
                ),
            );
            rules.push(format!("{ip} saddr @{set} goto {chain}"));
            map.push(format!("{number} : goto {chain}"));
            let remember = format!("update @{set} {{ {ip} saddr }}");
            let send = self.pick(port.protocol, &[*to]);
            self.set.chains.insert(chain, vec![remember, send]);
        }
        rules.push(format!(
            "numgen random mod {} vmap {{ {} }}",
            all.len(),
            map.join(", ")
        ));
        rules
    }
}

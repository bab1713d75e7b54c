//! From Services to rules.

use crate::ruleset::Ruleset;
use crate::services::{Endpoint, ServicePort};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

/// The mark of packets whose source must become the node; bit 14, as kube-proxy's.
const MASQUERADE: &str = "meta mark set meta mark or 0x4000";

/// Facts about the node that rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Where all pods get their addresses from.
    pub cluster_cidr: Ipv4Net,
}

/// The table for these Services.
#[must_use]
pub fn ruleset(ports: &[ServicePort], facts: &NodeFacts) -> Ruleset {
    let mut builder = Builder {
        facts: *facts,
        ..Builder::default()
    };
    for port in ports {
        builder.service_port(port);
    }
    builder.finish()
}

#[derive(Default)]
struct Builder {
    facts: NodeFacts,
    rules: Ruleset,
    services: BTreeMap<String, String>,
    node_ports: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
    refused_node_ports: BTreeMap<String, String>,
}

impl Default for NodeFacts {
    fn default() -> Self {
        Self {
            cluster_cidr: Ipv4Net::new(Ipv4Addr::new(10, 244, 0, 0), 16)
                .expect("a constant network"),
        }
    }
}

/// A chain name: short, unique, and readable enough to find the Service in `nft list`.
fn chain(kind: &str, port: &ServicePort, endpoint: Option<&Endpoint>) -> String {
    let mut hasher = DefaultHasher::new();
    (
        &port.service,
        &port.port_name,
        port.protocol().name(),
        port.port,
    )
        .hash(&mut hasher);
    let (namespace, name) = port.service.split_once('/').unwrap_or(("", &port.service));
    let clean = |text: &str, max: usize| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .take(max)
            .collect()
    };
    let mut text = format!(
        "{kind}-{:016x}-{}-{}",
        hasher.finish(),
        clean(namespace, 16),
        clean(name, 24)
    );
    if let Some(endpoint) = endpoint {
        text.push_str(&format!(
            "-{}-{}",
            u32::from(endpoint.address),
            endpoint.port
        ));
    }
    text
}

impl Builder {
    fn chain(&mut self, name: &str, rules: Vec<String>) {
        self.rules
            .chains
            .insert(name.to_owned(), (String::new(), rules));
    }

    fn service_port(&mut self, port: &ServicePort) {
        let protocol = port.protocol().name();
        let key = |address: &Ipv4Addr| format!("{address} . {protocol} . {}", port.port);
        let inside: Vec<&Endpoint> = if port.internal_local {
            port.local_endpoints().collect()
        } else {
            port.endpoints.iter().collect()
        };
        for address in &port.cluster_ips {
            if inside.is_empty() {
                let verdict = if port.endpoints.is_empty() {
                    "goto refuse"
                } else {
                    "drop"
                };
                self.refused.insert(key(address), verdict.to_owned());
            } else {
                self.services
                    .insert(key(address), format!("goto {}", chain("svc", port, None)));
            }
        }
        if !inside.is_empty() {
            self.inside_chain(port, &inside);
        }
        self.outside(port, &key);
        for endpoint in &port.endpoints {
            self.endpoint_chain(port, endpoint);
        }
    }

    /// What comes to a cluster address.
    fn inside_chain(&mut self, port: &ServicePort, endpoints: &[&Endpoint]) {
        let mut rules = Vec::new();
        let addresses: Vec<String> = port.cluster_ips.iter().map(ToString::to_string).collect();
        // The answer to a client outside the cluster must come back this way.
        rules.push(format!(
            "ip daddr {{ {} }} ip saddr != {} {MASQUERADE}",
            addresses.join(", "),
            self.facts.cluster_cidr
        ));
        rules.extend(balance(port, endpoints));
        self.chain(&chain("svc", port, None), rules);
    }

    /// What comes to a node port, an external or a load balancer's address.
    fn outside(&mut self, port: &ServicePort, key: &dyn Fn(&Ipv4Addr) -> String) {
        let addresses: Vec<&Ipv4Addr> = port
            .external_ips
            .iter()
            .chain(&port.load_balancer_ips)
            .collect();
        if addresses.is_empty() && port.node_port.is_none() {
            return;
        }
        let protocol = port.protocol().name();
        let node_key = port
            .node_port
            .map(|node_port| format!("{protocol} . {node_port}"));
        if port.endpoints.is_empty() {
            let refuse = || "goto refuse".to_owned();
            self.refused.extend(
                addresses
                    .into_iter()
                    .map(|address| (key(address), refuse())),
            );
            self.refused_node_ports
                .extend(node_key.map(|key| (key, refuse())));
            return;
        }
        let name = chain("ext", port, None);
        let verdict = format!("goto {name}");
        self.services.extend(
            addresses
                .into_iter()
                .map(|address| (key(address), verdict.clone())),
        );
        self.node_ports.extend(node_key.map(|key| (key, verdict)));
        let rules = self.outside_rules(port);
        self.chain(&name, rules);
    }

    fn outside_rules(&self, port: &ServicePort) -> Vec<String> {
        let mut rules = Vec::new();
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            let balancers: Vec<String> = port
                .load_balancer_ips
                .iter()
                .map(ToString::to_string)
                .collect();
            rules.push(format!(
                "ip daddr {{ {} }} ip saddr != {{ {} }} drop",
                balancers.join(", "),
                port.source_ranges.join(", ")
            ));
        }
        let all: Vec<&Endpoint> = port.endpoints.iter().collect();
        if port.external_local {
            // Pods reach every endpoint, as through the cluster address; others
            // keep their source address and stay on this node.
            let local: Vec<&Endpoint> = port.local_endpoints().collect();
            let pods = format!("ip saddr {}", self.facts.cluster_cidr);
            rules.extend(
                balance(port, &all)
                    .into_iter()
                    .map(|rule| format!("{pods} {rule}")),
            );
            if local.is_empty() {
                rules.push("drop".to_owned());
            } else {
                rules.extend(balance(port, &local));
            }
        } else {
            rules.push(MASQUERADE.to_owned());
            rules.extend(balance(port, &all));
        }
        rules
    }

    fn endpoint_chain(&mut self, port: &ServicePort, endpoint: &Endpoint) {
        let Endpoint {
            address,
            port: number,
            ..
        } = endpoint;
        let mut rules = vec![format!("ip saddr {address} {MASQUERADE}")];
        if let Some(seconds) = port.affinity_seconds {
            let set = chain("affinity", port, Some(endpoint));
            let declaration = format!("type ipv4_addr; flags dynamic,timeout; timeout {seconds}s;");
            rules.push(format!("update @{set} {{ ip saddr }}"));
            self.rules.sets.insert(set, declaration);
        }
        rules.push(format!(
            "meta l4proto {} dnat to {address}:{number}",
            port.protocol().name()
        ));
        self.chain(&chain("ep", port, Some(endpoint)), rules);
    }

    fn finish(mut self) -> Ruleset {
        let address_map = "type ipv4_addr . inet_proto . inet_service : verdict;";
        let port_map = "type inet_proto . inet_service : verdict;";
        for (name, declaration, elements) in [
            ("services", address_map, self.services),
            ("node-ports", port_map, self.node_ports),
            ("refused", address_map, self.refused),
            ("refused-node-ports", port_map, self.refused_node_ports),
        ] {
            self.rules
                .maps
                .insert(name.to_owned(), (declaration.to_owned(), elements));
        }
        let to_node = "fib daddr type local ip daddr != 127.0.0.0/8";
        let service_key = "ip daddr . meta l4proto . th dport";
        let port_key = "meta l4proto . th dport";
        let dispatch = vec![
            format!("{service_key} vmap @services"),
            format!("{to_node} {port_key} vmap @node-ports"),
        ];
        let refuse = vec![
            format!("ct state new {service_key} vmap @refused"),
            format!("ct state new {to_node} {port_key} vmap @refused-node-ports"),
        ];
        let nat = |hook: &str, priority: &str| {
            format!("type nat hook {hook} priority {priority}; policy accept;")
        };
        let filter =
            |hook: &str| format!("type filter hook {hook} priority filter; policy accept;");
        let masquerade = vec![
            "meta mark and 0x4000 == 0 return".to_owned(),
            "meta mark set meta mark and 0xffffbfff".to_owned(),
            "masquerade fully-random".to_owned(),
        ];
        for (name, hook, rules) in [
            (
                "nat-prerouting",
                nat("prerouting", "dstnat"),
                vec!["jump dispatch".to_owned()],
            ),
            (
                "nat-output",
                nat("output", "-100"),
                vec!["jump dispatch".to_owned()],
            ),
            ("nat-postrouting", nat("postrouting", "srcnat"), masquerade),
            (
                "filter-input",
                filter("input"),
                vec!["jump unreachable".to_owned()],
            ),
            (
                "filter-forward",
                filter("forward"),
                vec!["jump unreachable".to_owned()],
            ),
            (
                "filter-output",
                filter("output"),
                vec!["jump unreachable".to_owned()],
            ),
            ("dispatch", String::new(), dispatch),
            ("unreachable", String::new(), refuse),
            (
                "refuse",
                String::new(),
                vec![
                    "meta l4proto tcp reject with tcp reset".to_owned(),
                    "reject".to_owned(),
                ],
            ),
        ] {
            self.rules.chains.insert(name.to_owned(), (hook, rules));
        }
        self.rules
    }
}

/// The rules that send a connection to one of the endpoints: the one its client
/// had before, else any.
fn balance(port: &ServicePort, endpoints: &[&Endpoint]) -> Vec<String> {
    let goto = |endpoint: &Endpoint| format!("goto {}", chain("ep", port, Some(endpoint)));
    let mut rules = Vec::new();
    if port.affinity_seconds.is_some() {
        for endpoint in endpoints {
            let set = chain("affinity", port, Some(endpoint));
            rules.push(format!("ip saddr @{set} {}", goto(endpoint)));
        }
    }
    match endpoints {
        [one] => rules.push(goto(one)),
        many => {
            let choices: Vec<String> = many
                .iter()
                .enumerate()
                .map(|(number, endpoint)| format!("{number} : {}", goto(endpoint)))
                .collect();
            rules.push(format!(
                "numgen random mod {} vmap {{ {} }}",
                many.len(),
                choices.join(", ")
            ));
        }
    }
    rules
}

#[cfg(test)]
mod tests;

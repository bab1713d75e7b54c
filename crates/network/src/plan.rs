//! From nodes to routes, and from routes to changes.

use ipnet::{IpNet, Ipv4Net};
use kontiki_object::{Object, SharedObject, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The tunnel device.
pub const VXLAN_DEVICE: &str = "kontiki0";

/// Another node, as far as its pods are concerned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The addresses of its pods.
    pub pod_ranges: BTreeSet<Ipv4Net>,
}

/// What is known of the own node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The networks that the node is directly attached to.
    pub networks: Vec<Ipv4Net>,
}

/// A route to pods of another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: Ipv4Net,
    /// Through which neighbour.
    pub gateway: Ipv4Addr,
    /// Whether through the tunnel.
    pub tunnel: bool,
}

/// The far end of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tunnel {
    /// The node's address.
    pub node: Ipv4Addr,
    /// The address that routes name: the first of its pod range.
    pub inner: Ipv4Addr,
}

impl Tunnel {
    /// The hardware address of a node's end. It follows from the node's
    /// address, so that nodes need not tell each other.
    #[must_use]
    pub fn hardware_address(node: Ipv4Addr) -> [u8; 6] {
        let [a, b, c, d] = node.octets();
        // Locally administered, unicast.
        [0x0a, 0x6b, a, b, c, d]
    }
}

/// What shall be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Routes.
    pub routes: BTreeSet<Route>,
    /// Far ends of the tunnel.
    pub tunnels: BTreeSet<Tunnel>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Action {
    AddTunnel(Tunnel),
    AddRoute(Route),
    RemoveRoute(Route),
    RemoveTunnel(Tunnel),
}

/// The internal address of a node.
fn internal_address(node: &Object) -> Option<Ipv4Addr> {
    let addresses = node.get(&["status", "addresses"]).and_then(Value::as_array);
    addresses
        .into_iter()
        .flatten()
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|address| address["address"].as_str()?.parse().ok())
}

/// The pod ranges of a node.
pub(crate) fn pod_ranges(node: &Object) -> Vec<IpNet> {
    let list = node.get(&["spec", "podCIDRs"]).and_then(Value::as_array);
    let mut found: Vec<IpNet> = list
        .into_iter()
        .flatten()
        .chain(node.get(&["spec", "podCIDR"]))
        .filter_map(|range| range.as_str()?.parse().ok())
        .map(|range: IpNet| range.trunc())
        .collect();
    found.dedup();
    if found.len() > 1 && found[0] == found[found.len() - 1] {
        found.pop();
    }
    found
}

/// The nodes other than `own` that have pods and an address.
#[must_use]
pub fn peers(nodes: &[SharedObject], own: &str) -> BTreeSet<Peer> {
    nodes
        .iter()
        .filter(|node| node.name() != own)
        .filter_map(|node| {
            let ranges = pod_ranges(node)
                .into_iter()
                .filter_map(|range| match range {
                    IpNet::V4(v4) => Some(v4),
                    IpNet::V6(_) => None,
                });
            Some(Peer {
                name: node.name().to_owned(),
                address: internal_address(node)?,
                pod_ranges: ranges.collect(),
            })
        })
        .filter(|peer| !peer.pod_ranges.is_empty())
        .collect()
}

/// The own node's address.
pub(crate) fn own_address(nodes: &[SharedObject], own: &str) -> Option<IpAddr> {
    let node = nodes.iter().find(|node| node.name() == own)?;
    internal_address(node).map(IpAddr::V4)
}

impl Desired {
    /// Straight to neighbours, through the tunnel to everybody else.
    #[must_use]
    pub fn build(peers: &BTreeSet<Peer>, facts: &Facts) -> Self {
        let mut desired = Self::default();
        let mut taken: BTreeSet<Ipv4Net> = BTreeSet::new();
        for peer in peers {
            let is_neighbour = facts.networks.iter().any(|n| n.contains(&peer.address));
            for range in &peer.pod_ranges {
                // Two nodes with one range is a mistake; the first by name keeps it.
                if !taken.insert(*range) {
                    continue;
                }
                let gateway = if is_neighbour {
                    peer.address
                } else {
                    range.network()
                };
                desired.routes.insert(Route {
                    destination: *range,
                    gateway,
                    tunnel: !is_neighbour,
                });
                if !is_neighbour {
                    desired.tunnels.insert(Tunnel {
                        node: peer.address,
                        inner: range.network(),
                    });
                }
            }
        }
        desired
    }
}

/// What leads from one state to another: far ends come before the routes that
/// need them and go after them. A route that changes is replaced, not removed.
#[must_use]
pub fn plan(current: &Desired, desired: &Desired) -> Vec<Action> {
    let mut actions = Vec::new();
    let fresh = desired.tunnels.difference(&current.tunnels).cloned();
    actions.extend(fresh.map(Action::AddTunnel));
    let fresh = desired.routes.difference(&current.routes).cloned();
    actions.extend(fresh.map(Action::AddRoute));
    let is_replaced = |old: &&Route| {
        desired
            .routes
            .iter()
            .any(|new| new.destination == old.destination)
    };
    let gone = current
        .routes
        .difference(&desired.routes)
        .filter(|r| !is_replaced(r))
        .cloned();
    actions.extend(gone.map(Action::RemoveRoute));
    let gone = current.tunnels.difference(&desired.tunnels).cloned();
    actions.extend(gone.map(Action::RemoveTunnel));
    actions
}

#[cfg(test)]
mod tests;

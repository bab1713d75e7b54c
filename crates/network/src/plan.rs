//! Which routes a node needs, computed from the Node objects.

use ipnet::Ipv4Net;
use kontiki_object::Object;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Marks our routes in the kernel's table, so that nobody else's are touched.
pub const ROUTE_PROTOCOL: u8 = 75;
/// The VXLAN device.
pub const DEVICE: &str = "kontiki0";
/// VXLAN's port as the kernel has used it since before its standard.
pub const VXLAN_PORT: u16 = 8472;
/// The network's identifier.
pub const VXLAN_ID: u32 = 75;

/// What matters of another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its address.
    pub address: Ipv4Addr,
    /// Where its pods get their addresses from.
    pub pods: Ipv4Net,
}

/// A route to another node's pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The node is on the link.
    Direct(Peer),
    /// The node is behind a router.
    Vxlan(Peer),
}

impl Route {
    /// The node.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Direct(peer) | Self::Vxlan(peer) => peer,
        }
    }
}

/// The first IPv4 pod network of a node.
#[must_use]
pub fn pod_cidr(node: &Object) -> Option<Ipv4Net> {
    let several = node
        .get(&["spec", "podCIDRs"])
        .and_then(|list| list.as_array())
        .into_iter()
        .flatten();
    let single = node.get(&["spec", "podCIDR"]);
    several
        .chain(single)
        .filter_map(|text| text.as_str()?.parse().ok())
        .next()
}

/// The first internal IPv4 address of a node.
#[must_use]
pub fn internal_ip(node: &Object) -> Option<Ipv4Addr> {
    let addresses = node.get(&["status", "addresses"])?.as_array()?;
    addresses
        .iter()
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|address| address["address"].as_str()?.parse().ok())
}

/// Every other node that has pods and an address.
pub fn peers<'a>(nodes: impl IntoIterator<Item = &'a Object>, own: &str) -> BTreeSet<Peer> {
    nodes
        .into_iter()
        .filter(|node| node.name() != own)
        .filter_map(|node| {
            Some(Peer {
                address: internal_ip(node)?,
                pods: pod_cidr(node)?,
            })
        })
        .collect()
}

/// A MAC address for a node's VXLAN device that every other node can compute.
#[must_use]
pub fn vxlan_mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // Locally administered, unicast.
    format!("02:4b:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// What has to be done to get from `present` to `wanted`: removals first, so
/// that a network that moved from one node to another is free.
#[must_use]
pub fn difference(present: &BTreeSet<Route>, wanted: &BTreeSet<Route>) -> (Vec<Route>, Vec<Route>) {
    let remove = present.difference(wanted).cloned().collect();
    let add = wanted.difference(present).cloned().collect();
    (remove, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, ip: &str, cidr: &str) -> Object {
        let tree = json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": cidr, "podCIDRs": ["fd00::/64", cidr]},
            "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]},
        });
        Object::from_value(tree).expect("a map")
    }

    #[test]
    fn every_other_complete_node_is_a_peer() {
        let nodes = [
            node("a", "10.0.0.1", "10.244.0.0/24"),
            node("b", "10.0.0.2", "10.244.1.0/24"),
            node("c", "10.0.0.3", ""),
        ];
        let peers = peers(&nodes, "a");
        let expected = Peer {
            address: Ipv4Addr::new(10, 0, 0, 2),
            pods: "10.244.1.0/24".parse().expect("a network"),
        };
        assert_eq!(peers, BTreeSet::from([expected]));
    }

    #[test]
    fn only_the_difference_is_carried_out() {
        let peer = |n: u8| Peer {
            address: Ipv4Addr::new(10, 0, 0, n),
            pods: Ipv4Net::new(Ipv4Addr::new(10, 244, n, 0), 24).expect("a network"),
        };
        let present = BTreeSet::from([Route::Direct(peer(1)), Route::Direct(peer(2))]);
        let wanted = BTreeSet::from([Route::Direct(peer(2)), Route::Vxlan(peer(1))]);
        let (remove, add) = difference(&present, &wanted);
        assert_eq!(remove, [Route::Direct(peer(1))]);
        assert_eq!(add, [Route::Vxlan(peer(1))]);
    }
}

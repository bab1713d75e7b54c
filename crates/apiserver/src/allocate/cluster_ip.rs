//! Cluster IPs.

use super::{Allocator, has_address, invalid, spec, text};
use crate::codec;
use crate::registry::{Guard, Registry, RequestContext, Target, WriteOptions, note_creation};
use ipnet::IpNet;
use jiff::Timestamp;
use kontiki_auth::UserInfo;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Status, Value, time};
use kontiki_store::{DeleteRangeRequest, KeyRange, Op, PutRequest};
use rand::Rng as _;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Who writes these objects.
const SERVER: &str = "kube-apiserver";
const PREFIX: &str = "/registry/ipaddresses";
/// How many addresses are tried before the range counts as full.
const TRIES_MAX: u128 = 1 << 16;
/// The lower part of a range is left to those who choose addresses themselves:
/// at least 16, at most 256 addresses, as upstream.
const STATIC_MIN: u128 = 16;
const STATIC_MAX: u128 = 256;

fn offset(net: IpNet, at: u128) -> IpAddr {
    match net.network() {
        IpAddr::V4(base) => {
            let sum = u128::from(u32::from(base)) + at;
            IpAddr::V4(Ipv4Addr::from(u32::try_from(sum).unwrap_or(u32::MAX)))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).saturating_add(at))),
    }
}

/// The number of addresses that can be given out, network and broadcast excluded.
fn size(net: IpNet) -> u128 {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len()).min(64);
    let all = 1_u128 << bits;
    match net {
        IpNet::V4(_) => all.saturating_sub(2),
        IpNet::V6(_) => all.saturating_sub(1),
    }
}

/// The first address of the range: that of the `kubernetes` service.
pub(crate) fn first(net: IpNet) -> IpAddr {
    offset(net, 1)
}

fn is_taken(registry: &Registry, address: IpAddr) -> bool {
    registry
        .cache()
        .resource(PREFIX)
        .get(&address.to_string())
        .is_some()
}

fn free(registry: &Registry, net: IpNet) -> Option<IpAddr> {
    let size = size(net);
    let reserved = (size / 16).clamp(STATIC_MIN, STATIC_MAX).min(size / 2);
    let dynamic = size - reserved;
    let start = rand::rng().random_range(0..dynamic.max(1));
    let upper = (0..dynamic.min(TRIES_MAX)).map(|step| reserved + 1 + (start + step) % dynamic);
    let lower = 1..=reserved;
    upper
        .chain(lower)
        .map(|at| offset(net, at))
        .find(|address| !is_taken(registry, *address))
}

/// The object that holds an address for a service, as the server itself makes it.
fn object(kind: &Kind, target: &Target, address: IpAddr) -> Tree {
    let now = Timestamp::now();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let value = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": time::format(now),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": "services",
            "namespace": target.namespace, "name": target.name,
        }},
    });
    let Value::Object(mut tree) = value else {
        return Tree::new();
    };
    let context = RequestContext::new(Arc::new(UserInfo::new(SERVER, &[])), now);
    let options = WriteOptions {
        field_manager: SERVER.to_owned(),
        ..WriteOptions::default()
    };
    note_creation(kind, &context, &options, &mut tree, "");
    tree
}

fn addresses(tree: &Tree) -> Vec<String> {
    let list = tree.get("spec").and_then(|spec| spec.get("clusterIPs"));
    let mut all: Vec<String> = list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let one = text(tree, "clusterIP");
    if all.is_empty() && !one.is_empty() {
        all.push(one.to_owned());
    }
    all.retain(|address| address != "None" && !address.is_empty());
    all
}

impl Allocator {
    pub(super) fn addresses(
        &self,
        registry: &Registry,
        target: &Target,
        new: &mut Tree,
        old: &Tree,
    ) -> Result<Vec<Guard>, Status> {
        let had = if has_address(old) {
            addresses(old)
        } else {
            Vec::new()
        };
        let mut guards = Vec::new();
        let wants = new.get("spec").is_some_and(|_| has_address(new));
        if wants {
            let wished = addresses(new);
            if wished.is_empty() {
                let address = free(registry, self.service_cidr).ok_or_else(|| {
                    Status::internal("failed to allocate a serviceIP: range is full")
                })?;
                guards.push(Self::take(registry, target, address)?);
                write(new, address);
            } else {
                for text in wished.iter().filter(|text| !had.contains(text)) {
                    guards.push(self.take_wished(registry, target, text, &wished)?);
                }
                if let [only] = &wished[..]
                    && let Ok(address) = only.parse()
                {
                    write(new, address);
                }
            }
        }
        let has = if wants { addresses(new) } else { Vec::new() };
        let released = had.iter().filter(|address| !has.contains(address));
        guards.extend(released.map(|address| Guard {
            key: format!("{PREFIX}/{address}"),
            revision: None,
            op: Op::DeleteRange(DeleteRangeRequest {
                range: KeyRange::one(format!("{PREFIX}/{address}")),
                prev_kv: false,
            }),
        }));
        Ok(guards)
    }

    fn take_wished(
        &self,
        registry: &Registry,
        target: &Target,
        wish: &str,
        all: &[String],
    ) -> Result<Guard, Status> {
        let refuse = |why: String| {
            let shown = Value::from(all);
            invalid(
                target,
                "clusterIPs",
                shown,
                &format!("failed to allocate IP {wish}: {why}"),
            )
        };
        let address: IpAddr = wish
            .parse()
            .map_err(|_| refuse("it is not an IP address".to_owned()))?;
        let net = self.service_cidr;
        let is_edge = address == net.network() || (address.is_ipv4() && address == net.broadcast());
        if !net.contains(&address) || is_edge {
            return Err(refuse(
                "the provided network does not match the current range".to_owned(),
            ));
        }
        if is_taken(registry, address) {
            return Err(refuse("provided IP is already allocated".to_owned()));
        }
        Self::take(registry, target, address)
    }

    fn take(registry: &Registry, target: &Target, address: IpAddr) -> Result<Guard, Status> {
        let kind = registry
            .catalog()
            .find("networking.k8s.io", "v1", "ipaddresses")
            .ok_or_else(|| Status::internal("IPAddress is not served"))?;
        let key = format!("{PREFIX}/{address}");
        Ok(Guard {
            op: Op::Put(PutRequest {
                key: key.clone().into(),
                value: codec::encode(&kind, object(&kind, target, address)),
                ..PutRequest::default()
            }),
            key,
            revision: Some(0),
        })
    }
}

fn write(new: &mut Tree, address: IpAddr) {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    if let Some(spec) = spec(new) {
        let text = address.to_string();
        spec.insert("clusterIPs".to_owned(), vec![text.clone()].into());
        spec.insert("clusterIP".to_owned(), text.into());
        spec.entry("ipFamilies")
            .or_insert_with(|| vec![family].into());
        spec.entry("ipFamilyPolicy")
            .or_insert_with(|| "SingleStack".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_leaves_out_its_edges() {
        let net: IpNet = "10.0.0.0/29".parse().expect("a net");
        assert_eq!(size(net), 6);
        assert_eq!(first(net).to_string(), "10.0.0.1");
        assert_eq!(offset(net, size(net)).to_string(), "10.0.0.6");
    }
}

//! What Services are given: cluster IPs and node ports, so that no two
//! servers ever give out the same.
//!
//! Each address is an `IPAddress` object, created in the transaction that
//! writes the Service; node ports are bits of one key, which that transaction
//! compares and writes. A conflict makes the registry plan again.

mod cluster_ip;
mod node_port;

pub(crate) use cluster_ip::first as first_address;

use crate::registry::{Guard, Registry, Target};
use ipnet::IpNet;
use kontiki_kinds::{FieldError, Path, Tree, service};
use kontiki_object::{Status, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What is given out.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// The range of cluster IPs.
    pub service_cidr: IpNet,
    /// The range of node ports.
    pub node_ports: RangeInclusive<u16>,
}

fn is_service(target: &Target) -> bool {
    target.kind.group.is_empty()
        && target.kind.plural == "services"
        && target.subresource.is_empty()
}

fn text<'a>(tree: &'a Tree, field: &str) -> &'a str {
    tree.get("spec")
        .and_then(|spec| spec.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn spec(tree: &mut Tree) -> Option<&mut Tree> {
    tree.get_mut("spec").and_then(Value::as_object_mut)
}

/// Whether a service of this type has an address of its own.
fn has_address(tree: &Tree) -> bool {
    text(tree, "type") != "ExternalName" && text(tree, "clusterIP") != "None"
}

fn invalid(target: &Target, field: &str, value: Value, why: &str) -> Status {
    let path = Path::new("spec").child(field);
    let complaint = FieldError::invalid(&path, value, why);
    crate::error::invalid(&target.kind, &target.name, vec![complaint])
}

/// A node port that two ports of a new Service name: they must be one port for
/// two protocols to share it.
fn check_shared_ports(target: &Target, new: &Tree) -> Result<(), Status> {
    let listed = new
        .get("spec")
        .and_then(|spec| spec.get("ports"))
        .and_then(Value::as_array);
    let number = |port: &Value, field: &str| port.get(field).and_then(Value::as_u64);
    let mut taken = BTreeMap::new();
    for (at, port) in listed.into_iter().flatten().enumerate() {
        let Some(wish) = number(port, "nodePort").filter(|wish| *wish != 0) else {
            continue;
        };
        let own = number(port, "port");
        if *taken.entry(wish).or_insert(own) != own {
            let why = "provided port is already allocated";
            let field = format!("ports[{at}].nodePort");
            return Err(invalid(target, &field, wish.into(), why));
        }
    }
    Ok(())
}

impl Allocator {
    /// Completes a Service that came in, before its strategy sees it: what an
    /// update leaves out, and the families of its addresses.
    ///
    /// # Errors
    /// 422 if the families cannot be had.
    pub(crate) fn prepare(
        &self,
        target: &Target,
        new: &mut Tree,
        old: Option<&Tree>,
    ) -> Result<(), Status> {
        if !is_service(target) {
            return Ok(());
        }
        if let Some(old) = old {
            service::carry_over(new, old);
        }
        service::join_cluster_ips(new, old);
        let family = match self.service_cidr {
            IpNet::V4(_) => "IPv4",
            IpNet::V6(_) => "IPv6",
        };
        service::settle_families(new, old, &[family])
            .map_err(|errors| crate::error::invalid(&target.kind, &target.name, errors))?;
        if old.is_none() {
            check_shared_ports(target, new)?;
        }
        Ok(())
    }

    /// Gives a new Service what it needs; answers what else to write.
    ///
    /// # Errors
    /// 422 if what it asks for is taken or out of range.
    pub(crate) async fn on_create(
        &self,
        registry: &Registry,
        target: &Target,
        tree: &mut Tree,
    ) -> Result<Vec<Guard>, Status> {
        self.on_update(registry, target, tree, &Tree::new()).await
    }

    /// Gives a changed Service what it needs and takes what it no longer needs.
    ///
    /// # Errors
    /// 422 if what it asks for is taken or out of range.
    pub(crate) async fn on_update(
        &self,
        registry: &Registry,
        target: &Target,
        new: &mut Tree,
        old: &Tree,
    ) -> Result<Vec<Guard>, Status> {
        if !is_service(target) {
            return Ok(Vec::new());
        }
        let mut guards = self.addresses(registry, target, new, old)?;
        guards.extend(self.ports(registry, target, new, old).await?);
        Ok(guards)
    }

    /// Takes back what a deleted Service had.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn on_delete(
        &self,
        registry: &Registry,
        target: &Target,
        old: &Tree,
    ) -> Result<Vec<Guard>, Status> {
        if !is_service(target) {
            return Ok(Vec::new());
        }
        let mut gone = old.clone();
        if let Some(spec) = spec(&mut gone) {
            spec.insert("type".to_owned(), "ExternalName".into());
            for field in ["clusterIP", "clusterIPs", "ports", "healthCheckNodePort"] {
                spec.remove(field);
            }
        }
        let mut guards = self.addresses(registry, target, &mut gone, old)?;
        guards.extend(self.ports(registry, target, &mut gone, old).await?);
        Ok(guards)
    }
}

//! Node ports: one bitmap for the whole cluster, as upstream keeps it.

use super::{Allocator, invalid, spec};
use crate::error;
use crate::registry::{Guard, Registry, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_kinds::{Tree, service};
use kontiki_object::{Status, Value};
use kontiki_schema::protobuf;
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, Revision};
use rand::Rng as _;
use serde_json::json;
use std::collections::BTreeSet;

const KEY: &str = "/registry/ranges/servicenodeports";

/// Which ports are taken.
struct Ports {
    revision: Revision,
    taken: BTreeSet<u16>,
}

fn ports_of(tree: &Tree) -> BTreeSet<u16> {
    let spec = tree.get("spec");
    let listed = spec
        .and_then(|spec| spec.get("ports"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|port| port.get("nodePort")?.as_u64());
    let health = spec
        .and_then(|spec| spec.get("healthCheckNodePort"))
        .and_then(Value::as_u64);
    listed
        .chain(health)
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect()
}

fn lacks_port(tree: &Tree) -> bool {
    let listed = tree
        .get("spec")
        .and_then(|spec| spec.get("ports"))
        .and_then(Value::as_array);
    let lacks = listed
        .into_iter()
        .flatten()
        .any(|port| port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0);
    let health = tree
        .get("spec")
        .and_then(|spec| spec.get("healthCheckNodePort"));
    (service::wants_node_ports(tree) && lacks)
        || (service::wants_health_port(tree) && health.and_then(Value::as_u64).unwrap_or(0) == 0)
}

impl Allocator {
    pub(super) async fn ports(
        &self,
        registry: &Registry,
        target: &Target,
        new: &mut Tree,
        old: &Tree,
    ) -> Result<Vec<Guard>, Status> {
        let had = ports_of(old);
        if ports_of(new) == had && !lacks_port(new) {
            return Ok(Vec::new());
        }
        let mut ports = self.read_ports(registry).await?;
        for wished in ports_of(new).difference(&had) {
            if !self.node_ports.contains(wished) {
                let (first, last) = (self.node_ports.start(), self.node_ports.end());
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                );
                return Err(self.refuse(target, new, *wished, &why));
            }
            if !ports.taken.insert(*wished) {
                return Err(self.refuse(
                    target,
                    new,
                    *wished,
                    "provided port is already allocated",
                ));
            }
        }
        self.fill(&mut ports, new)?;
        let has = ports_of(new);
        for released in had.difference(&has) {
            ports.taken.remove(released);
        }
        Ok(vec![self.write_ports(&ports)])
    }

    fn refuse(&self, target: &Target, new: &Tree, port: u16, why: &str) -> Status {
        let listed = new.get("spec").and_then(|spec| spec["ports"].as_array());
        let at = listed
            .into_iter()
            .flatten()
            .position(|entry| entry["nodePort"] == port);
        let Some(at) = at else {
            return Status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {port}: {why}"
            ));
        };
        let field = format!("ports[{at}].nodePort");
        invalid(target, &field, port.into(), why)
    }

    fn free_port(&self, ports: &mut Ports) -> Result<u16, Status> {
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        let count = u32::from(last - first) + 1;
        let start = rand::rng().random_range(0..count);
        let free = (0..count)
            .filter_map(|step| u16::try_from(u32::from(first) + (start + step) % count).ok())
            .find(|port| !ports.taken.contains(port))
            .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        ports.taken.insert(free);
        Ok(free)
    }

    fn fill(&self, ports: &mut Ports, new: &mut Tree) -> Result<(), Status> {
        let listed = service::wants_node_ports(new);
        let health = service::wants_health_port(new);
        let Some(spec) = spec(new) else {
            return Ok(());
        };
        // One number serves both protocols of a port, as for DNS.
        let mut given: Vec<(Value, Value, u16)> = Vec::new();
        let entries = spec.get_mut("ports").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter(|_| listed) {
            let Some(entry) = entry.as_object_mut() else {
                continue;
            };
            if entry.get("nodePort").and_then(Value::as_u64).unwrap_or(0) != 0 {
                continue;
            }
            let number = entry.get("port").cloned().unwrap_or_default();
            let protocol = entry.get("protocol").cloned().unwrap_or_default();
            let shared = given
                .iter()
                .find(|(other, other_protocol, _)| *other == number && *other_protocol != protocol)
                .map(|(_, _, port)| *port);
            let port = match shared {
                Some(port) => port,
                None => self.free_port(ports)?,
            };
            given.push((number, protocol, port));
            entry.insert("nodePort".to_owned(), port.into());
        }
        let own = spec.get("healthCheckNodePort").and_then(Value::as_u64);
        if health && own.unwrap_or(0) == 0 {
            let port = self.free_port(ports)?;
            spec.insert("healthCheckNodePort".to_owned(), port.into());
        }
        Ok(())
    }

    async fn read_ports(&self, registry: &Registry) -> Result<Ports, Status> {
        let request = RangeRequest {
            range: KeyRange::one(KEY),
            ..RangeRequest::default()
        };
        let answer = registry.store().range(request).await;
        let answer = answer.map_err(|error| error::from_store(&error))?;
        let Some(kv) = answer.kvs.first() else {
            return Ok(Ports {
                revision: 0,
                taken: BTreeSet::new(),
            });
        };
        let value = if protobuf::has_envelope(&kv.value) {
            protobuf::decode_object(&kv.value).map_err(Status::internal)?
        } else {
            serde_json::from_slice(&kv.value).map_err(Status::internal)?
        };
        let bits = STANDARD
            .decode(value["data"].as_str().unwrap_or_default())
            .map_err(Status::internal)?;
        // Big-endian, as Go's `big.Int` writes it: the last byte holds the first ports.
        let first = *self.node_ports.start();
        let taken = bits.iter().rev().enumerate().flat_map(|(byte, bits)| {
            (0..8_usize)
                .filter(move |bit| bits & (1 << bit) != 0)
                .filter_map(move |bit| u16::try_from(byte * 8 + bit).ok())
                .filter_map(move |at| first.checked_add(at))
        });
        Ok(Ports {
            revision: kv.mod_revision,
            taken: taken.collect(),
        })
    }

    fn write_ports(&self, ports: &Ports) -> Guard {
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        let mut bits = vec![0_u8; usize::from(last - first) / 8 + 1];
        for port in &ports.taken {
            if let Some(at) = port.checked_sub(first)
                && let Some(byte) = bits.get_mut(usize::from(at / 8))
            {
                *byte |= 1 << (at % 8);
            }
        }
        let leading = bits.iter().rev().take_while(|byte| **byte == 0).count();
        bits.truncate(bits.len() - leading);
        bits.reverse();
        let object = json!({
            "apiVersion": "v1", "kind": "RangeAllocation", "metadata": {},
            "range": format!("{first}-{last}"), "data": STANDARD.encode(&bits),
        });
        let value = protobuf::encode_object(&object).unwrap_or_else(|_| {
            serde_json::to_vec(&object)
                .expect("a JSON tree always encodes")
                .into()
        });
        Guard {
            key: KEY.to_owned(),
            revision: Some(ports.revision),
            op: Op::Put(PutRequest {
                key: KEY.into(),
                value,
                ..PutRequest::default()
            }),
        }
    }
}

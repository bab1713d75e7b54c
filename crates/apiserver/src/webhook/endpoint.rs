//! From a Service's port to a pod.

use crate::dial::DialTarget;
use crate::registry::Registry;
use kontiki_object::{Object, SharedObject, Value};
use rand::seq::IndexedRandom as _;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// To what a node can reach.
    OnNode {
        /// The node.
        node: String,
        /// What it reaches.
        target: DialTarget,
    },
    /// To `host:port`, from here.
    Direct(String),
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

fn host_port(host: &str, port: u64) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn items<'a>(object: &'a Object, path: &[&str]) -> impl Iterator<Item = &'a Value> {
    let list = object.get(path).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// A ready endpoint of a Service's port, one of all by chance.
///
/// # Errors
/// Why there is none, in upstream's words.
pub(crate) fn find(
    registry: &Registry,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Endpoint, String> {
    let catalog = registry.catalog();
    let service = catalog
        .find("", "v1", "services")
        .and_then(|kind| registry.cached(&kind, namespace, name))
        .ok_or_else(|| format!("service {name:?} not found"))?;
    let wanted = u64::from(port);
    if service.str_at(&["spec", "type"]) == Some("ExternalName") {
        let host = service
            .str_at(&["spec", "externalName"])
            .unwrap_or_default();
        return Ok(Endpoint::Direct(host_port(host, wanted)));
    }
    let own = items(&service, &["spec", "ports"]).find(|own| own["port"] == wanted);
    let own = own.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = own["name"].as_str().unwrap_or_default();
    let slices: Vec<SharedObject> = catalog
        .find("discovery.k8s.io", "v1", "endpointslices")
        .map(|kind| registry.cached_list(&kind, namespace))
        .unwrap_or_default();
    let slices = slices
        .iter()
        .filter(|slice| slice.label(SERVICE_NAME) == Some(name));
    let ready: Vec<Endpoint> = slices
        .flat_map(|slice| of_slice(slice, port_name))
        .collect();
    ready
        .choose(&mut rand::rng())
        .cloned()
        .ok_or_else(|| format!("no endpoints available for service {name:?}"))
}

/// The ready endpoints of a slice.
fn of_slice(slice: &Object, port_name: &str) -> Vec<Endpoint> {
    let number = items(slice, &["ports"])
        .find(|port| port["name"].as_str().unwrap_or_default() == port_name)
        .and_then(|port| port["port"].as_u64());
    let Some(number) = number else {
        return Vec::new();
    };
    items(slice, &["endpoints"])
        .filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
        .filter_map(|endpoint| {
            let address = host_port(endpoint["addresses"][0].as_str()?, number);
            Some(match endpoint["nodeName"].as_str() {
                Some(node) if !node.is_empty() => Endpoint::OnNode {
                    node: node.to_owned(),
                    target: DialTarget::Tcp(address),
                },
                // What is on no node is not behind one.
                _ => Endpoint::Direct(address),
            })
        })
        .collect()
}

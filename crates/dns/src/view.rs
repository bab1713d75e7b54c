//! The cluster's names at one moment.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kontiki_object::SharedObject;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// Empty for the only port.
    pub(crate) name: String,
    /// In lower case.
    pub(crate) protocol: String,
    pub(crate) number: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// Its label below the Service: the host name, or the address with dashes.
    pub(crate) label: String,
    pub(crate) address: IpAddr,
    pub(crate) ports: Vec<Port>,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Its own addresses.
    Addresses(Vec<IpAddr>, Vec<Port>),
    /// Its endpoints'.
    Headless,
    /// Another name.
    Alias(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) endpoints: BTreeSet<Endpoint>,
}

/// The cluster's names at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By namespace and name.
    pub(crate) services: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Names below `svc.<domain>` by address.
    pub(crate) reverse: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// An address as a label.
pub(crate) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

impl View {
    /// From all Services and EndpointSlices; malformed ones are passed over.
    #[must_use]
    pub fn build(services: &[SharedObject], slices: &[SharedObject]) -> Self {
        let mut by_service: BTreeMap<(&str, &str), BTreeSet<Endpoint>> = BTreeMap::new();
        for slice in slices {
            if let Some(name) = slice.label("kubernetes.io/service-name") {
                let found = by_service.entry((slice.namespace(), name)).or_default();
                found.extend(endpoints(slice));
            }
        }
        let mut view = Self::default();
        for object in services {
            let Some(target) = target(object) else {
                continue;
            };
            let (namespace, name) = (object.namespace(), object.name());
            let endpoints = by_service.remove(&(namespace, name)).unwrap_or_default();
            view.note_reverse(namespace, name, &target, &endpoints);
            let of_namespace = view.services.entry(namespace.to_owned()).or_default();
            of_namespace.insert(name.to_owned(), Entry { target, endpoints });
        }
        view
    }

    fn note_reverse(
        &mut self,
        namespace: &str,
        name: &str,
        target: &Target,
        endpoints: &BTreeSet<Endpoint>,
    ) {
        if let Target::Addresses(addresses, _) = target {
            for address in addresses {
                let names = self.reverse.entry(*address).or_default();
                names.insert(format!("{name}.{namespace}"));
            }
        }
        for endpoint in endpoints {
            let is_named = endpoint.label != dashed(endpoint.address);
            if matches!(target, Target::Headless) || is_named {
                let names = self.reverse.entry(endpoint.address).or_default();
                names.insert(format!("{}.{name}.{namespace}", endpoint.label));
            }
        }
    }

    pub(crate) fn entry(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.services.get(namespace)?.get(name)
    }
}

fn port(name: Option<&String>, protocol: Option<&String>, number: i32) -> Option<Port> {
    Some(Port {
        name: name.cloned().unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.map_or("tcp".into(), |protocol| protocol.to_ascii_lowercase()),
        number: u16::try_from(number).ok()?,
    })
}

fn target(object: &SharedObject) -> Option<Target> {
    let service = object.typed::<Service>().ok()?;
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let name = spec.external_name.clone().filter(|name| !name.is_empty())?;
        return Some(Target::Alias(
            name.trim_end_matches('.').to_ascii_lowercase(),
        ));
    }
    let mut texts: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
    if texts.is_empty() {
        texts.extend(&spec.cluster_ip);
    }
    if texts.iter().any(|text| *text == "None") {
        return Some(Target::Headless);
    }
    let addresses = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter_map(|p| port(p.name.as_ref(), p.protocol.as_ref(), p.port));
    Some(Target::Addresses(addresses, ports.collect()))
}

fn endpoints(slice: &SharedObject) -> Vec<Endpoint> {
    let Ok(slice) = slice.typed::<EndpointSlice>() else {
        return Vec::new();
    };
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|p| port(p.name.as_ref(), p.protocol.as_ref(), p.port?))
        .collect();
    let mut found = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready);
        if ready == Some(false) {
            continue;
        }
        for address in endpoint
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
        {
            let host = endpoint.hostname.as_ref().filter(|name| !name.is_empty());
            found.push(Endpoint {
                label: host.map_or_else(|| dashed(address), |host| host.to_ascii_lowercase()),
                address,
                ports: ports.clone(),
            });
        }
    }
    found
}

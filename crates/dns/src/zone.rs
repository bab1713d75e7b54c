//! What the cluster's names mean.

use kontiki_client::{ObjectCache, index};
use kontiki_object::{Object, SharedObject, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Seconds that answers about the cluster may be kept.
pub const TTL_SECONDS: u32 = 5;
const VERSION: &str = "1.1.0";

/// A fact about a name. Names are absolute, in lower case, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An address.
    Address(IpAddr),
    /// A port and the name of who serves it.
    Service {
        /// The port.
        port: u16,
        /// Who serves it.
        target: String,
        /// Its addresses, so that the client need not ask again.
        addresses: Vec<IpAddr>,
    },
    /// Another name that is meant.
    Alias(String),
    /// The name of an address.
    Pointer(String),
    /// A text.
    Text(&'static str),
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Facts; none means that the name exists without any.
    Found(Vec<Fact>),
    /// The name lies in the cluster's domain and does not exist.
    Missing,
    /// The name is nobody's here.
    Elsewhere,
}

/// The cluster's domain over the caches that define it.
#[derive(Clone)]
pub struct Zone {
    /// The domain, `cluster.local`.
    pub domain: String,
    /// Services, indexed by [`index::IP`].
    pub services: Arc<ObjectCache>,
    /// Their endpoints, indexed by [`index::SERVICE`] and [`index::IP`].
    pub slices: Arc<ObjectCache>,
}

impl Zone {
    /// Looks a name up; case does not matter.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = reverse(&name) {
            return self.pointer(address);
        }
        if name == self.domain {
            return Lookup::Found(Vec::new());
        }
        let Some(rest) = name
            .strip_suffix(&self.domain)
            .and_then(|rest| rest.strip_suffix('.'))
        else {
            return Lookup::Elsewhere;
        };
        let mut labels: Vec<&str> = rest.split('.').collect();
        labels.reverse();
        let found = match labels[..] {
            ["dns-version"] => Some(vec![Fact::Text(VERSION)]),
            ["svc" | "pod"] => Some(Vec::new()),
            ["svc", namespace] => self.namespace_exists(namespace).then(Vec::new),
            ["svc", namespace, service, ref rest @ ..] => self.service(namespace, service, rest),
            ["pod", _namespace, address] => {
                pod_address(address).map(|address| vec![Fact::Address(address)])
            }
            ["pod", _] => Some(Vec::new()),
            _ => None,
        };
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    fn namespace_exists(&self, namespace: &str) -> bool {
        !self.services.list_namespace(namespace).is_empty()
    }

    /// `rest` is what stands before the Service's name, from right to left.
    fn service(&self, namespace: &str, name: &str, rest: &[&str]) -> Option<Vec<Fact>> {
        let service = self.services.get_named(namespace, name)?;
        if service.str_at(&["spec", "type"]) == Some("ExternalName") {
            let target = service.str_at(&["spec", "externalName"])?;
            return rest.is_empty().then(|| {
                vec![Fact::Alias(
                    target.trim_end_matches('.').to_ascii_lowercase(),
                )]
            });
        }
        let ips = cluster_ips(&service);
        let endpoints = || self.endpoints(&service);
        match rest {
            [] if ips.is_empty() => {
                let mut addresses: Vec<IpAddr> = endpoints()
                    .into_iter()
                    .map(|endpoint| endpoint.address)
                    .collect();
                addresses.dedup();
                // A headless Service without endpoints has no name (specification, 2.4.1).
                (!addresses.is_empty()).then(|| addresses.into_iter().map(Fact::Address).collect())
            }
            [] => Some(ips.into_iter().map(Fact::Address).collect()),
            [protocol, port] if protocol.starts_with('_') && port.starts_with('_') => {
                self.ports(&service, &ips, &protocol[1..], &port[1..])
            }
            [protocol] if protocol.starts_with('_') => Some(Vec::new()),
            [host] if ips.is_empty() => {
                let matching = endpoints()
                    .into_iter()
                    .filter(|endpoint| endpoint.host == *host);
                let facts: Vec<Fact> = matching
                    .map(|endpoint| Fact::Address(endpoint.address))
                    .collect();
                (!facts.is_empty()).then_some(facts)
            }
            _ => None,
        }
    }

    fn ports(
        &self,
        service: &Object,
        ips: &[IpAddr],
        protocol: &str,
        name: &str,
    ) -> Option<Vec<Fact>> {
        let own = format!(
            "{}.{}.svc.{}",
            service.name(),
            service.namespace(),
            self.domain
        );
        let matches = |spec: &Value| {
            let transport = spec["protocol"].as_str().unwrap_or("TCP");
            transport.eq_ignore_ascii_case(protocol) && spec["name"].as_str() == Some(name)
        };
        let number = |spec: &Value| {
            spec["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
        };
        if !ips.is_empty() {
            let ports = service.get(&["spec", "ports"]).and_then(Value::as_array)?;
            let port = ports.iter().find(|spec| matches(spec)).and_then(number)?;
            return Some(vec![Fact::Service {
                port,
                target: own,
                addresses: ips.to_vec(),
            }]);
        }
        let mut facts = Vec::new();
        for slice in self.slices.by_index(index::SERVICE, &service.key()) {
            let ports = slice
                .get(&["ports"])
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let Some(port) = ports.filter(|spec| matches(spec)).find_map(number) else {
                continue;
            };
            for endpoint in slice_endpoints(&slice, publishes_all(service)) {
                let target = format!("{}.{own}", endpoint.host);
                facts.push(Fact::Service {
                    port,
                    target,
                    addresses: vec![endpoint.address],
                });
            }
        }
        (!facts.is_empty()).then_some(facts)
    }

    fn endpoints(&self, service: &Object) -> Vec<Endpoint> {
        let slices = self.slices.by_index(index::SERVICE, &service.key());
        let mut all: Vec<Endpoint> = slices
            .iter()
            .flat_map(|slice| slice_endpoints(slice, publishes_all(service)))
            .collect();
        all.sort();
        all
    }

    fn pointer(&self, address: IpAddr) -> Lookup {
        let text = address.to_string();
        if let Some(service) = self.services.by_index(index::IP, &text).first() {
            let name = format!(
                "{}.{}.svc.{}",
                service.name(),
                service.namespace(),
                self.domain
            );
            return Lookup::Found(vec![Fact::Pointer(name)]);
        }
        let mut names = Vec::new();
        for slice in self.slices.by_index(index::IP, &text) {
            let Some(service) = self.headless(&slice) else {
                continue;
            };
            for endpoint in slice_endpoints(&slice, true)
                .into_iter()
                .filter(|endpoint| endpoint.address == address)
            {
                let name = format!(
                    "{}.{}.{}.svc.{}",
                    endpoint.host,
                    service.name(),
                    service.namespace(),
                    self.domain
                );
                names.push(Fact::Pointer(name));
            }
        }
        if names.is_empty() {
            Lookup::Elsewhere
        } else {
            Lookup::Found(names)
        }
    }

    fn headless(&self, slice: &Object) -> Option<SharedObject> {
        let service = self.services.get(index::slice_service(slice).first()?)?;
        cluster_ips(&service).is_empty().then_some(service)
    }
}

/// One address behind a headless Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    address: IpAddr,
    /// Its host name, or its address with dashes.
    host: String,
}

fn publishes_all(service: &Object) -> bool {
    service
        .get(&["spec", "publishNotReadyAddresses"])
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

fn slice_endpoints(slice: &Object, all: bool) -> Vec<Endpoint> {
    let endpoints = slice
        .get(&["endpoints"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let wanted = endpoints
        .filter(|endpoint| all || endpoint["conditions"]["ready"].as_bool().unwrap_or(true));
    wanted
        .filter_map(|endpoint| {
            let address: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
            let host = endpoint["hostname"]
                .as_str()
                .map_or_else(|| dashed(address), str::to_ascii_lowercase);
            Some(Endpoint { address, host })
        })
        .collect()
}

fn cluster_ips(service: &Object) -> Vec<IpAddr> {
    index::service_ips(service)
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// `10-244-0-5` names a pod by its address.
fn pod_address(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()
}

/// The address that a name of the reverse domains stands for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = digits.split('.').collect();
        parts.reverse();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').collect();
    if nibbles.len() != 32 {
        return None;
    }
    let digits: String = nibbles.into_iter().rev().collect();
    u128::from_str_radix(&digits, 16)
        .ok()
        .map(|bits| IpAddr::V6(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn zone() -> Zone {
        let services = Arc::new(ObjectCache::new(vec![(index::IP, index::service_ips)]));
        let slices = Arc::new(ObjectCache::new(vec![
            (index::SERVICE, index::slice_service),
            (index::IP, index::slice_ips),
        ]));
        let put = |cache: &ObjectCache, tree: Value| {
            cache.upsert(Arc::new(Object::from_value(tree).expect("a map")))
        };
        put(
            &services,
            json!({
                "metadata": {"namespace": "n", "name": "web"},
                "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
            }),
        );
        put(
            &services,
            json!({
                "metadata": {"namespace": "n", "name": "db"},
                "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]},
            }),
        );
        put(
            &services,
            json!({"metadata": {"namespace": "n", "name": "empty"}, "spec": {"clusterIP": "None"}}),
        );
        put(
            &services,
            json!({
                "metadata": {"namespace": "n", "name": "out"}, "spec": {"type": "ExternalName", "externalName": "Example.org."},
            }),
        );
        put(
            &slices,
            json!({
                "metadata": {"namespace": "n", "name": "db-x", "labels": {"kubernetes.io/service-name": "db"}},
                "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
                    {"addresses": ["10.244.0.6"], "conditions": {"ready": true}},
                    {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": false}},
                ],
            }),
        );
        Zone {
            domain: "cluster.local".into(),
            services,
            slices,
        }
    }

    fn address(text: &str) -> Fact {
        Fact::Address(text.parse().expect("an address"))
    }

    fn found(name: &str) -> Vec<Fact> {
        match zone().lookup(name) {
            Lookup::Found(facts) => facts,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn services_have_their_addresses() {
        assert_eq!(found("web.n.svc.cluster.local."), [address("10.96.0.7")]);
        assert_eq!(found("WEB.n.SVC.cluster.local"), [address("10.96.0.7")]);
        assert_eq!(
            found("db.n.svc.cluster.local"),
            [address("10.244.0.5"), address("10.244.0.6")]
        );
        assert_eq!(
            found("db-0.db.n.svc.cluster.local"),
            [address("10.244.0.5")]
        );
        assert_eq!(
            found("10-244-0-6.db.n.svc.cluster.local"),
            [address("10.244.0.6")]
        );
        assert_eq!(
            found("out.n.svc.cluster.local"),
            [Fact::Alias("example.org".into())]
        );
        assert_eq!(
            found("10-244-0-9.n.pod.cluster.local"),
            [address("10.244.0.9")]
        );
    }

    #[test]
    fn named_ports_have_service_records() {
        let web = Fact::Service {
            port: 80,
            target: "web.n.svc.cluster.local".into(),
            addresses: vec!["10.96.0.7".parse().expect("an address")],
        };
        assert_eq!(found("_http._tcp.web.n.svc.cluster.local"), [web]);
        let targets: Vec<String> = found("_sql._tcp.db.n.svc.cluster.local")
            .into_iter()
            .map(|fact| match fact {
                Fact::Service {
                    target, port: 5432, ..
                } => target,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            targets,
            [
                "db-0.db.n.svc.cluster.local",
                "10-244-0-6.db.n.svc.cluster.local"
            ]
        );
    }

    #[test]
    fn addresses_have_names() {
        assert_eq!(
            found("7.0.96.10.in-addr.arpa"),
            [Fact::Pointer("web.n.svc.cluster.local".into())]
        );
        assert_eq!(
            found("5.0.244.10.in-addr.arpa"),
            [Fact::Pointer("db-0.db.n.svc.cluster.local".into())]
        );
    }

    #[test]
    fn what_does_not_exist_is_told_apart_from_what_is_elsewhere() {
        for name in [
            "nope.n.svc.cluster.local",
            "_http._udp.web.n.svc.cluster.local",
            "empty.n.svc.cluster.local",
            "web.m.svc.cluster.local",
            "db-2.db.n.svc.cluster.local",
            "x.cluster.local",
            "x.web.n.svc.cluster.local",
        ] {
            assert_eq!(zone().lookup(name), Lookup::Missing, "{name}");
        }
        for name in [
            "example.org",
            "cluster.local.example.org",
            "1.1.1.1.in-addr.arpa",
            "xcluster.local",
            "",
        ] {
            assert_eq!(zone().lookup(name), Lookup::Elsewhere, "{name}");
        }
        for name in [
            "svc.cluster.local",
            "n.svc.cluster.local",
            "cluster.local",
            "_tcp.web.n.svc.cluster.local",
        ] {
            assert_eq!(found(name), [], "{name}");
        }
    }
}

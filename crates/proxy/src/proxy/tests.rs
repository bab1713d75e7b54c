//! The rules are compared with `testdata/*.nft`; `KONTIKI_BLESS=1` writes them anew.

mod kernel;

use super::*;
use kontiki_object::{Object, SharedObject};
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn object(tree: Value) -> SharedObject {
    Arc::new(Object::from_value(tree).expect("a map"))
}

pub(super) fn service(name: &str, spec: Value) -> SharedObject {
    object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "ns"}, "spec": spec,
    }))
}

/// Endpoints as `address`, `address@node`, with `!` for not ready and `~` for draining.
pub(super) fn slice(service: &str, ports: Value, endpoints: &[&str]) -> SharedObject {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|text| {
            let (is_down, drains) = (text.starts_with('!'), text.starts_with('~'));
            let text = text.trim_start_matches(['!', '~']);
            let (address, node) = text.split_once('@').unwrap_or((text, "other"));
            json!({
                "addresses": [address], "nodeName": node,
                "conditions": {"ready": !is_down && !drains, "serving": !is_down, "terminating": drains},
            })
        })
        .collect();
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x"), "namespace": "ns",
                     "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": ports,
    }))
}

fn http() -> Value {
    json!([{"port": 8080, "protocol": "TCP"}])
}

fn plain(more: Value) -> Value {
    let mut spec = json!({
        "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}

fn rules(services: &[SharedObject], slices: &[SharedObject]) -> Ruleset {
    let ports = service_ports(services, slices, "me");
    let ranges = ["10.244.0.0/16".parse().expect("a range")];
    Ruleset::build(Family::V4, ports.values(), &ranges)
}

fn golden(name: &str, script: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name);
    if std::env::var_os("KONTIKI_BLESS").is_some() {
        std::fs::write(&path, script).expect("can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(script, expected, "{name}");
}

#[test]
fn rules_are_as_written_down() {
    let node_port = json!([{"port": 80, "nodePort": 30080, "targetPort": 8080}]);
    let local = json!({"type": "NodePort", "ports": node_port, "externalTrafficPolicy": "Local"});
    let cases = [
        (
            "cluster-ip",
            plain(json!({})),
            vec!["10.244.0.5@me", "10.244.1.6"],
        ),
        (
            "no-endpoints",
            plain(json!({"type": "NodePort", "ports": node_port})),
            vec!["!10.244.0.5"],
        ),
        (
            "node-port",
            plain(json!({"type": "NodePort", "ports": node_port})),
            vec!["10.244.0.5"],
        ),
        (
            "node-port-local",
            plain(local.clone()),
            vec!["10.244.0.5@me", "10.244.1.6"],
        ),
        (
            "node-port-local-elsewhere",
            plain(local),
            vec!["10.244.1.6"],
        ),
        (
            "internal-local",
            plain(json!({"internalTrafficPolicy": "Local"})),
            vec!["10.244.1.6"],
        ),
        (
            "draining",
            plain(json!({})),
            vec!["!10.244.0.4", "~10.244.0.5"],
        ),
        (
            "affinity",
            plain(json!({"sessionAffinity": "ClientIP"})),
            vec!["10.244.0.5", "10.244.1.6"],
        ),
        (
            "external-ip",
            plain(
                json!({"externalIPs": ["192.0.2.1"], "loadBalancerSourceRanges": ["198.51.100.0/24"]}),
            ),
            vec!["10.244.0.5"],
        ),
    ];
    // Only what a Service adds; the frame is the same for all.
    let nothing = rules(&[], &[]);
    golden("frame.nft", &nothing.script_from(None));
    for (name, spec, endpoints) in cases {
        let set = rules(&[service("web", spec)], &[slice("web", http(), &endpoints)]);
        golden(&format!("{name}.nft"), &set.script_from(Some(&nothing)));
    }
}

#[test]
fn a_dead_endpoint_costs_three_commands() {
    let services = [service("web", plain(json!({})))];
    let two = rules(
        &services,
        &[slice("web", http(), &["10.244.0.5", "10.244.1.6"])],
    );
    let one = rules(&services, &[slice("web", http(), &["10.244.0.5"])]);
    golden("endpoint-gone.nft", &one.script_from(Some(&two)));
    assert_eq!(two.script_from(Some(&two)), "");
}

#[test]
fn one_port_number_may_be_used_by_two_protocols() {
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    let services = [service("dns", plain(json!({"ports": ports})))];
    let slices = [slice(
        "dns",
        json!([{"name": "dns", "port": 5353, "protocol": "UDP"},
               {"name": "dns-tcp", "port": 5354, "protocol": "TCP"}]),
        &["10.244.0.5"],
    )];
    let found = service_ports(&services, &slices, "me");
    let to = |name: &str| match &found[name].internal {
        crate::Traffic::To(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(to("ns/dns/udp/dns"), ["10.244.0.5:5353"]);
    assert_eq!(to("ns/dns/tcp/dns-tcp"), ["10.244.0.5:5354"]);
}

#[test]
fn services_that_are_not_ours_make_no_rules() {
    let nothing = rules(&[], &[]);
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.org", "ports": [{"port": 80}]}),
        json!({"clusterIP": "nonsense", "clusterIPs": [""], "ports": [{"port": 80}]}),
        json!({"clusterIP": "10.96.0.10", "ports": [{"port": 0}, {"port": 80, "protocol": "XYZ"}]}),
        json!({"clusterIP": "10.96.0.10", "ports": "malformed"}),
        json!({}),
    ] {
        let set = rules(
            &[service("web", spec)],
            &[slice("web", http(), &["10.244.0.5"])],
        );
        assert_eq!(set, nothing);
    }
}

#[test]
fn udp_flows_to_gone_destinations_are_stale() {
    let ports = json!([{"port": 53, "protocol": "UDP"}]);
    let services = [service("dns", plain(json!({"ports": ports})))];
    let at = |endpoints: &[&str]| {
        let slices = [slice("dns", ports.clone(), endpoints)];
        service_ports(&services, &slices, "me")
    };
    let found = stale(&at(&["10.244.0.5", "10.244.0.6"]), &at(&["10.244.0.6"]));
    assert_eq!(format!("{found:?}"), "{To(10.96.0.10, 10.244.0.5:53)}");
    let found = stale(&at(&[]), &at(&["10.244.0.6"]));
    assert_eq!(format!("{found:?}"), "{Before(10.96.0.10, 53)}");
    assert!(stale(&at(&["10.244.0.6"]), &at(&["10.244.0.6"])).is_empty());
}

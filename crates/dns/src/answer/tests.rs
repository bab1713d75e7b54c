use super::*;
use kontiki_object::{Object, SharedObject};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn object(kind: &str, namespace: &str, name: &str, mut rest: Value) -> SharedObject {
    rest["kind"] = kind.into();
    rest["metadata"]["name"] = name.into();
    rest["metadata"]["namespace"] = namespace.into();
    Arc::new(Object::from_value(rest).expect("a map"))
}

pub(crate) fn view() -> View {
    let service = |name: &str, spec: Value| object("Service", "ns", name, json!({"spec": spec}));
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let services = [
        service(
            "web",
            json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"], "ports": ports}),
        ),
        service(
            "db",
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": []}),
        ),
        service("empty", json!({"clusterIP": "None"})),
        service(
            "ext",
            json!({"type": "ExternalName", "externalName": "example.org"}),
        ),
        service(
            "inner",
            json!({"type": "ExternalName", "externalName": "web.ns.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName", "externalName": "loop.ns.svc.cluster.local"}),
        ),
    ];
    let slice = object(
        "EndpointSlice",
        "ns",
        "db-x",
        json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.6"], "conditions": {}},
                {"addresses": ["10.244.0.7"], "conditions": {"ready": false}}],
        }),
    );
    View::build(&services, &[slice])
}

pub(crate) fn zone() -> Zone {
    Zone {
        domain: "cluster.local".into(),
        ttl_seconds: 5,
    }
}

/// The answer as text: an outcome, or the records' data.
fn ask(name: &str, kind: RecordType) -> String {
    let name = Name::from_ascii(name).expect("a name");
    let answer = answer(&name, kind, &view(), &zone());
    let data: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
    let has_soa = !answer.authorities.is_empty();
    match (answer.outcome, data.is_empty()) {
        (Outcome::NotOurs, _) => "upstream".into(),
        (Outcome::NoSuchName, true) if has_soa => "NXDOMAIN".into(),
        (Outcome::Found, true) => "NODATA".into(),
        (Outcome::Found, false) => data.join(" | "),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn names_are_answered_as_the_specification_says() {
    use RecordType as T;
    let cases = [
        ("web.ns.svc.cluster.local.", T::A, "10.96.0.10"),
        ("WEB.ns.SVC.cluster.local.", T::A, "10.96.0.10"),
        ("web.ns.svc.cluster.local.", T::AAAA, "fd00::10"),
        ("web.ns.svc.cluster.local.", T::MX, "NODATA"),
        ("web.other.svc.cluster.local.", T::A, "NXDOMAIN"),
        ("gone.ns.svc.cluster.local.", T::A, "NXDOMAIN"),
        ("gone.ns.svc.cluster.local.", T::AAAA, "NXDOMAIN"),
        ("web.ns.cluster.local.", T::A, "NXDOMAIN"),
        ("ns.svc.cluster.local.", T::A, "NODATA"),
        ("other.svc.cluster.local.", T::A, "NXDOMAIN"),
        ("svc.cluster.local.", T::A, "NODATA"),
        ("cluster.local.", T::A, "NODATA"),
        ("cluster.local.", T::NS, "ns.dns.cluster.local."),
        ("dns-version.cluster.local.", T::TXT, "1.1.0"),
        ("db.ns.svc.cluster.local.", T::A, "10.244.0.6 | 10.244.0.5"),
        ("db.ns.svc.cluster.local.", T::AAAA, "NODATA"),
        ("db-0.db.ns.svc.cluster.local.", T::A, "10.244.0.5"),
        ("10-244-0-6.db.ns.svc.cluster.local.", T::A, "10.244.0.6"),
        ("10-244-0-7.db.ns.svc.cluster.local.", T::A, "NXDOMAIN"),
        ("empty.ns.svc.cluster.local.", T::A, "NODATA"),
        (
            "_http._tcp.web.ns.svc.cluster.local.",
            T::SRV,
            "0 100 80 web.ns.svc.cluster.local.",
        ),
        (
            "_dns._udp.web.ns.svc.cluster.local.",
            T::SRV,
            "0 100 53 web.ns.svc.cluster.local.",
        ),
        ("_dns._tcp.web.ns.svc.cluster.local.", T::SRV, "NXDOMAIN"),
        ("_http._tcp.web.ns.svc.cluster.local.", T::A, "NODATA"),
        ("_tcp.web.ns.svc.cluster.local.", T::SRV, "NODATA"),
        (
            "_sql._tcp.db.ns.svc.cluster.local.",
            T::SRV,
            "0 50 5432 10-244-0-6.db.ns.svc.cluster.local. | 0 50 5432 db-0.db.ns.svc.cluster.local.",
        ),
        ("ext.ns.svc.cluster.local.", T::A, "example.org."),
        (
            "inner.ns.svc.cluster.local.",
            T::A,
            "web.ns.svc.cluster.local. | 10.96.0.10",
        ),
        (
            "inner.ns.svc.cluster.local.",
            T::CNAME,
            "web.ns.svc.cluster.local.",
        ),
        ("10-244-0-9.ns.pod.cluster.local.", T::A, "10.244.0.9"),
        ("nonsense.ns.pod.cluster.local.", T::A, "NXDOMAIN"),
        (
            "10.0.96.10.in-addr.arpa.",
            T::PTR,
            "web.ns.svc.cluster.local.",
        ),
        ("10.0.96.10.in-addr.arpa.", T::A, "NODATA"),
        (
            "5.0.244.10.in-addr.arpa.",
            T::PTR,
            "db-0.db.ns.svc.cluster.local.",
        ),
        ("example.org.", T::A, "upstream"),
        ("notcluster.local.", T::A, "upstream"),
        (".", T::NS, "upstream"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn an_alias_to_itself_ends() {
    let text = ask("loop.ns.svc.cluster.local.", RecordType::A);
    assert!(text.split(" | ").count() <= ALIASES_MAX + 1, "{text}");
}

#[test]
fn an_alias_out_of_the_cluster_is_left_to_the_upstream() {
    let name = Name::from_ascii("ext.ns.svc.cluster.local.").expect("a name");
    let found = answer(&name, RecordType::A, &view(), &zone());
    assert_eq!(
        found.alias.map(|name| name.to_ascii()),
        Some("example.org.".into())
    );
}

use super::*;
use crate::ruleset::transaction;
use crate::services::ports;
use kontiki_object::Object;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

fn object(tree: Value) -> Object {
    Object::from_value(tree).expect("a map")
}

fn service(name: &str, spec: &Value) -> Object {
    object(json!({"metadata": {"namespace": "n", "name": name}, "spec": spec}))
}

fn slice(service: &str, port: u16, endpoints: &Value) -> Object {
    object(json!({
        "metadata": {"namespace": "n", "name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
}

fn endpoint(address: &str, ready: bool, node: &str) -> Value {
    json!({
        "addresses": [address], "nodeName": node,
        "conditions": {"ready": ready, "serving": true, "terminating": !ready},
    })
}

fn rules_for(spec: &Value, endpoints: &Value) -> Ruleset {
    let ports = ports(
        &[service("web", spec)],
        &[slice("web", 8080, endpoints)],
        "here",
    );
    ruleset(&ports, &NodeFacts::default())
}

fn text(rules: &Ruleset) -> String {
    transaction(None, rules)
}

/// Lets nft read the rules without loading them.
fn check_with_nft(rules: &Ruleset) {
    let spawned = Command::new("nft")
        .args(["--check", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut nft) = spawned else {
        // Where nft is missing the text itself is all that can be looked at.
        return;
    };
    nft.stdin
        .take()
        .expect("piped")
        .write_all(text(rules).as_bytes())
        .expect("nft reads");
    let output = nft.wait_with_output().expect("nft ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || said.contains("Operation not permitted"),
        "{said}\n{}",
        text(rules)
    );
}

const CLUSTER_IP: &str = "10.96.0.7";

#[test]
fn a_cluster_address_leads_to_every_ready_endpoint() {
    let spec = json!({"clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP], "ports": [{"port": 80, "protocol": "TCP"}]});
    let endpoints = json!([
        endpoint("10.244.0.2", true, "here"),
        endpoint("10.244.1.2", true, "there"),
        endpoint("10.244.1.3", false, "there")
    ]);
    let rules = rules_for(&spec, &endpoints);
    check_with_nft(&rules);
    let text = text(&rules);
    assert!(text.contains("10.96.0.7 . tcp . 80 : goto svc-"), "{text}");
    assert!(text.contains("numgen random mod 2"), "{text}");
    assert!(!text.contains("10.244.1.3"), "{text}");
}

#[test]
fn a_terminating_endpoint_serves_only_while_none_is_ready() {
    let spec = json!({"clusterIP": CLUSTER_IP, "ports": [{"port": 80}]});
    let rules = rules_for(&spec, &json!([endpoint("10.244.1.3", false, "there")]));
    assert!(text(&rules).contains("dnat to 10.244.1.3:8080"));
}

#[test]
fn a_service_without_endpoints_refuses_connections() {
    let spec = json!({"clusterIP": CLUSTER_IP, "ports": [{"port": 80, "nodePort": 30080}]});
    let rules = rules_for(&spec, &json!([]));
    check_with_nft(&rules);
    let text = text(&rules);
    assert!(
        text.contains("refused { 10.96.0.7 . tcp . 80 : goto refuse }"),
        "{text}"
    );
    assert!(
        text.contains("refused-node-ports { tcp . 30080 : goto refuse }"),
        "{text}"
    );
}

#[test]
fn a_local_external_policy_keeps_the_client_address_and_the_node() {
    let spec = json!({
        "clusterIP": CLUSTER_IP, "externalTrafficPolicy": "Local", "type": "NodePort",
        "ports": [{"port": 80, "nodePort": 30080}],
    });
    let endpoints = json!([
        endpoint("10.244.0.2", true, "here"),
        endpoint("10.244.1.2", true, "there")
    ]);
    let rules = rules_for(&spec, &endpoints);
    check_with_nft(&rules);
    let (_, outside) = rules
        .chains
        .iter()
        .find(|(name, _)| name.starts_with("ext-"))
        .expect("is there")
        .1;
    assert!(
        outside.iter().all(|rule| !rule.contains("mark set")),
        "{outside:?}"
    );
    assert!(
        outside.last().expect("has rules").starts_with("goto ep-"),
        "{outside:?}"
    );
}

#[test]
fn affinity_comes_before_chance_and_survives_other_changes() {
    let spec =
        json!({"clusterIP": CLUSTER_IP, "sessionAffinity": "ClientIP", "ports": [{"port": 80}]});
    let one = json!([
        endpoint("10.244.0.2", true, "here"),
        endpoint("10.244.1.2", true, "there")
    ]);
    let two = json!([
        endpoint("10.244.0.2", true, "here"),
        endpoint("10.244.1.9", true, "there")
    ]);
    let (before, after) = (rules_for(&spec, &one), rules_for(&spec, &two));
    check_with_nft(&before);
    let kept = chain(
        "affinity",
        &ports(
            &[service("web", &spec)],
            &[slice("web", 8080, &one)],
            "here",
        )[0],
        Some(&Endpoint {
            address: "10.244.0.2".parse().expect("an address"),
            port: 8080,
            local: true,
        }),
    );
    let change = transaction(Some(&before), &after);
    assert!(text(&before).contains(&format!("ip saddr @{kept} goto ep-")));
    assert!(
        !change.contains(&format!("set ip kontiki-proxy {kept} ")),
        "{change}"
    );
}

#[test]
fn headless_and_external_name_services_have_no_rules() {
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "x"}),
    ] {
        let rules = rules_for(&spec, &json!([endpoint("10.244.0.2", true, "here")]));
        assert!(rules.maps["services"].1.is_empty());
    }
}

#[test]
fn a_source_range_that_is_no_network_reaches_no_rule() {
    let web = object(json!({
        "metadata": {"namespace": "n", "name": "web"},
        "spec": {
            "clusterIP": CLUSTER_IP, "type": "LoadBalancer", "ports": [{"port": 80}],
            "loadBalancerSourceRanges": ["192.0.2.0/24", "0.0.0.0/0 } ; drop #"],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}},
    }));
    let ports = ports(
        &[web],
        &[slice(
            "web",
            8080,
            &json!([endpoint("10.244.0.2", true, "here")]),
        )],
        "here",
    );
    let rules = ruleset(&ports, &NodeFacts::default());
    check_with_nft(&rules);
    assert!(text(&rules).contains("ip saddr != { 192.0.2.0/24 } drop"));
}

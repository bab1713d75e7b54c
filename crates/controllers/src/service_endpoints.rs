//! Which addresses and ports a Service has: what EndpointSlices and Endpoints
//! are both made of.

use crate::controller::Context;
use crate::fields::{flag, list, text};
use crate::pods;
use kontiki_client::Delta;
use kontiki_client::resources::{PODS, SERVICES};
use kontiki_object::{GroupVersionResource, LabelSelector, Object, SharedObject, Value};
use serde_json::json;

/// The services that select a pod, before or after its change; none if nothing
/// changed that an endpoint shows.
pub(crate) fn services_of_pod(
    context: &Context,
    _: &GroupVersionResource,
    delta: &Delta,
) -> Vec<String> {
    let shown = |pod: &SharedObject| {
        let labels: Vec<(String, String)> = pod
            .labels()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        (
            labels,
            pod.get(&["status", "podIPs"]).cloned(),
            pods::is_ready(pod),
            pods::is_terminal(pod),
            pod.is_terminating(),
            pods::node(pod).map(str::to_owned),
        )
    };
    if delta.old.as_ref().map(shown) == delta.new.as_ref().map(shown) {
        return Vec::new();
    }
    let services = context
        .caches
        .of(&SERVICES)
        .list_namespace(delta.object().namespace());
    let selecting = services.into_iter().filter(|service| {
        let selector = selector(service);
        let mut sides = delta.old.iter().chain(delta.new.iter());
        selector.is_some_and(|selector| sides.any(|pod| selector.matches(pod)))
    });
    selecting.map(|service| service.key()).collect()
}

/// The selector of a service; `None` if its endpoints are none of ours.
pub(crate) fn selector(service: &Object) -> Option<LabelSelector> {
    let pairs = service.get(&["spec", "selector"])?.as_object()?;
    if pairs.is_empty() || service.str_at(&["spec", "type"]) == Some("ExternalName") {
        return None;
    }
    let texts = pairs.iter();
    Some(LabelSelector::from_pairs(texts.map(|(key, value)| {
        (key.clone(), value.as_str().unwrap_or_default())
    })))
}

/// The pods that a service selects and that can be an endpoint.
pub(crate) fn selected_pods(context: &Context, service: &Object) -> Vec<SharedObject> {
    let Some(selector) = selector(service) else {
        return Vec::new();
    };
    let mut pods = context.caches.of(&PODS).list_namespace(service.namespace());
    pods.retain(|pod| selector.matches(pod) && !pods::is_terminal(pod));
    pods
}

/// The address of a pod in a family (`IPv4` or `IPv6`).
pub(crate) fn address<'a>(pod: &'a Object, family: &str) -> Option<&'a str> {
    let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
    let ips = list(pod, &["status", "podIPs"])
        .iter()
        .map(|ip| text(ip, "ip"));
    let mut ips = ips.chain(pod.str_at(&["status", "podIP"]));
    ips.find(|ip| !ip.is_empty() && of_family(ip))
}

/// The ports of a service on one pod, where names of container ports are looked up.
pub(crate) fn ports(service: &Object, pod: &Object) -> Vec<Value> {
    let ports = list(service, &["spec", "ports"]).iter();
    let resolved = ports.filter_map(|port| {
        let protocol = match text(port, "protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        let number = match &port["targetPort"] {
            Value::String(name) => container_port(pod, name, protocol)?,
            Value::Number(number) if number.as_i64() != Some(0) => number.as_i64()?,
            _ => port["port"].as_i64()?,
        };
        let mut resolved =
            json!({"name": text(port, "name"), "port": number, "protocol": protocol});
        if let Some(app) = port.get("appProtocol").filter(|app| !app.is_null()) {
            resolved["appProtocol"] = app.clone();
        }
        Some(resolved)
    });
    let mut resolved: Vec<Value> = resolved.collect();
    resolved.sort_by_key(|port| text(port, "name").to_owned());
    resolved
}

fn container_port(pod: &Object, name: &str, protocol: &str) -> Option<i64> {
    let containers = list(pod, &["spec", "containers"]).iter();
    let sidecars = list(pod, &["spec", "initContainers"]).iter();
    let sidecars = sidecars.filter(|container| text(container, "restartPolicy") == "Always");
    let ports = containers
        .chain(sidecars)
        .filter_map(|container| container["ports"].as_array());
    let found = ports.flatten().find(|port| {
        let of = text(port, "protocol");
        text(port, "name") == name && (if of.is_empty() { "TCP" } else { of }) == protocol
    });
    found?["containerPort"].as_i64()
}

/// Whether the service has no cluster address.
pub(crate) fn is_headless(service: &Object) -> bool {
    service.str_at(&["spec", "clusterIP"]) == Some("None")
}

/// Whether unready pods are published as if they were ready.
pub(crate) fn publishes_not_ready(service: &Object) -> bool {
    flag(service, &["spec", "publishNotReadyAddresses"])
}

/// The host name that an endpoint has in DNS below the service.
pub(crate) fn hostname<'a>(service: &Object, pod: &'a Object) -> Option<&'a str> {
    let below = pod.str_at(&["spec", "subdomain"]) == Some(service.name());
    pod.str_at(&["spec", "hostname"]).filter(|_| below)
}

/// What an endpoint points at.
pub(crate) fn target(pod: &Object) -> Value {
    json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

/// The labels that endpoints inherit from their service, and its headlessness.
pub(crate) fn inherited_labels(service: &Object) -> Value {
    let mut labels = json!({});
    for (key, value) in service.labels() {
        labels[key] = json!(value);
    }
    if is_headless(service) {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    labels
}

//! `core/v1` `Service`.

use crate::Tree;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::tree::{default, list, make, map_mut_at, maps_mut, number, text, unset};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["svc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::new(
                "proxy",
                "",
                "ServiceProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::status("Service"),
        ],
        defaults,
        strategy: Rules {
            name: names::dns1035_label,
            create_on_update: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "Service", "services").stored_at("/registry/services/specs")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let client = make(make(spec, "sessionAffinityConfig"), "clientIP");
            default(client, "timeoutSeconds", 10_800);
        }
        _ => {}
    }
    for port in maps_mut(spec, "ports") {
        default(port, "protocol", "TCP");
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.is_null() || target == 0 || target == "") {
            let number = number(port, "port").unwrap_or_default();
            port.insert("targetPort".into(), number.into());
        }
    }
    let kind = text(spec, "type").to_owned();
    let external = matches!(&*kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    if external {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = map_mut_at(object, &["status", "loadBalancer"]) {
            for ingress in maps_mut(balancer, "ingress") {
                if !unset(ingress, "ip") {
                    default(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

//! `networking.k8s.io/v1` `NetworkPolicy`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, list, map_mut, maps_mut};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["netpol"]),
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
        )
    }
}

fn defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    if list(spec, "policyTypes").is_empty() {
        let types = if list(spec, "egress").is_empty() {
            json!(["Ingress"])
        } else {
            json!(["Ingress", "Egress"])
        };
        spec.insert("policyTypes".into(), types);
    }
    for field in ["ingress", "egress"] {
        for rule in maps_mut(spec, field) {
            for port in maps_mut(rule, "ports") {
                default(port, "protocol", "TCP");
            }
        }
    }
}

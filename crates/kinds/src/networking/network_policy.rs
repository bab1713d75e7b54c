//! `networking.k8s.io/v1` `NetworkPolicy`.

use super::checks;
use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, list, map_mut, maps_mut};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["netpol"]),
        defaults,
        strategy: Rules {
            validate: checks::network_policy,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Pod-Selector",
            "string",
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
            |o, _| cells::selector(at(o, &["spec", "podSelector"])),
        ),
        Column::age(),
    ]
}

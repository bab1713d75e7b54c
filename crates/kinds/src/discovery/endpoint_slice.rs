//! `discovery.k8s.io/v1` `EndpointSlice`.

use crate::Kind;
use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default, maps_mut};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules {
            generation: &["endpoints", "ports"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    }
}

fn defaults(object: &mut Tree) {
    for port in maps_mut(object, "ports") {
        if port.get("name").is_none_or(Value::is_null) {
            port.insert("name".into(), "".into());
        }
        default(port, "protocol", "TCP");
    }
}

//! `networking.k8s.io/v1` `IngressClass`.

use crate::Kind;
use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default, map_mut_at};

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
    }
}

fn defaults(object: &mut Tree) {
    if let Some(parameters) = map_mut_at(object, &["spec", "parameters"]) {
        default(parameters, "scope", "Cluster");
    }
}

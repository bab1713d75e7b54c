//! `core/v1` `Endpoints`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, maps_mut};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ep"]),
        defaults,
        strategy: Rules {
            create_on_update: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "Endpoints", "endpoints")
            .stored_at("/registry/services/endpoints")
    }
}

fn defaults(object: &mut Tree) {
    for subset in maps_mut(object, "subsets") {
        for port in maps_mut(subset, "ports") {
            default(port, "protocol", "TCP");
        }
    }
}

//! `core/v1` `Endpoints`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
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
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Endpoints",
            "string",
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
            |o, _| cells::endpoints(o),
        ),
        Column::age(),
    ]
}

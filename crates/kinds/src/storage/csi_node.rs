//! `storage.k8s.io/v1` `CSINode`.

use crate::Kind;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::list_at;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("storage.k8s.io", "v1", "CSINode", "csinodes")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Drivers",
            "integer",
            "Drivers indicates the number of CSI drivers registered on the node",
            |o, _| list_at(o, &["spec", "drivers"]).len().into(),
        ),
        Column::age(),
    ]
}

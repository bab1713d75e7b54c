//! `resource.k8s.io/v1` `DeviceClass`.

use crate::Kind;
use crate::rules::Rules;
use crate::table::Column;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses")
    }
}

fn columns() -> Vec<Column> {
    vec![Column::name(), Column::age()]
}

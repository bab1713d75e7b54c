//! `node.k8s.io/v1` `RuntimeClass`.

use crate::Kind;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::text_at;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            create_on_update: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Handler", "string", "", |o, _| {
            text_at(o, &["handler"]).into()
        }),
        Column::age(),
    ]
}

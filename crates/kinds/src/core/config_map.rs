//! `core/v1` `ConfigMap`.

use crate::Kind;
use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cm"]),
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "ConfigMap", "configmaps")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Data",
            "string",
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
            |o, _| (cells::size(o, "data") + cells::size(o, "binaryData")).into(),
        ),
        Column::age(),
    ]
}

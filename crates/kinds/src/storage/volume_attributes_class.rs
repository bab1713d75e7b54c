//! `storage.k8s.io/v1` `VolumeAttributesClass`.

use crate::Kind;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::text_at;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["vac"]),
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        columns: columns(),
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "DriverName",
            "string",
            "Name of the CSI driver This field is immutable.",
            |o, _| text_at(o, &["driverName"]).into(),
        ),
        Column::age(),
    ]
}

//! `storage.k8s.io/v1` `VolumeAttributesClass`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["vac"]),
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
        )
    }
}

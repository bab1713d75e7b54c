//! `storage.k8s.io/v1` `VolumeAttributesClass`.

use crate::Kind;
use crate::kind::texts;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["vac"]),
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
        )
    }
}

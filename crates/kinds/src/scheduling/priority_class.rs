//! `scheduling.k8s.io/v1` `PriorityClass`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pc"]),
        ..Kind::cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
        )
    }
}

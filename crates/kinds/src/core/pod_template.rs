//! `core/v1` `PodTemplate`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("", "v1", "PodTemplate", "podtemplates")
}

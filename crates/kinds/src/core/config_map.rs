//! `core/v1` `ConfigMap`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cm"]),
        ..Kind::namespaced("", "v1", "ConfigMap", "configmaps")
    }
}

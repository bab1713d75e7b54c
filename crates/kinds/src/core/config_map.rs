//! `core/v1` `ConfigMap`.

use crate::Kind;
use crate::kind::texts;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cm"]),
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced("", "v1", "ConfigMap", "configmaps")
    }
}

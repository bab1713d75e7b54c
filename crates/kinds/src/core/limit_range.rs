//! `core/v1` `LimitRange`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["limits"]),
        ..Kind::namespaced("", "v1", "LimitRange", "limitranges")
    }
}

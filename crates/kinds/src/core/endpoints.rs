//! `core/v1` `Endpoints`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ep"]),
        ..Kind::namespaced("", "v1", "Endpoints", "endpoints")
            .stored_at("/registry/services/endpoints")
    }
}

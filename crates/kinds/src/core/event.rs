//! `core/v1` `Event`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        ttl_seconds: Some(3600),
        short_names: texts(&["ev"]),
        ..Kind::namespaced("", "v1", "Event", "events")
    }
}

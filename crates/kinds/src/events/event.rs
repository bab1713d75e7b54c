//! `events.k8s.io/v1` `Event`.

use crate::kind::texts;
use crate::{Kind, Storage};

pub(crate) fn kind() -> Kind {
    Kind {
        storage: Some(Storage::new("/registry/events".into(), "v1".into())),
        ttl_seconds: Some(3600),
        short_names: texts(&["ev"]),
        ..Kind::namespaced("events.k8s.io", "v1", "Event", "events")
    }
}

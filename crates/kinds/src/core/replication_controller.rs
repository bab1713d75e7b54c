//! `core/v1` `ReplicationController`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::scale(),
            Subresource::status("ReplicationController"),
        ],
        ..Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
            .stored_at("/registry/controllers")
    }
}

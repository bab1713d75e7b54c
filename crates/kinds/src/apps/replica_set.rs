//! `apps/v1` `ReplicaSet`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rs"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("ReplicaSet")],
        ..Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets")
    }
}

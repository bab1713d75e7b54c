//! `apps/v1` `StatefulSet`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sts"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("StatefulSet")],
        ..Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets")
    }
}

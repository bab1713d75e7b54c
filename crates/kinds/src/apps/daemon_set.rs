//! `apps/v1` `DaemonSet`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ds"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("DaemonSet")],
        ..Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets")
    }
}

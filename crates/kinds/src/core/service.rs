//! `core/v1` `Service`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["svc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::new(
                "proxy",
                "",
                "ServiceProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::status("Service"),
        ],
        ..Kind::namespaced("", "v1", "Service", "services").stored_at("/registry/services/specs")
    }
}

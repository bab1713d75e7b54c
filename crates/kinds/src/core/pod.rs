//! `core/v1` `Pod`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["po"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::new("attach", "", "PodAttachOptions", &["create", "get"]),
            Subresource::new("binding", "", "Binding", &["create"]),
            Subresource::of_object("ephemeralcontainers", "Pod"),
            Subresource::new("eviction", "policy/v1", "Eviction", &["create"]),
            Subresource::new("exec", "", "PodExecOptions", &["create", "get"]),
            Subresource::new("log", "", "Pod", &["get"]),
            Subresource::new(
                "portforward",
                "",
                "PodPortForwardOptions",
                &["create", "get"],
            ),
            Subresource::new(
                "proxy",
                "",
                "PodProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::of_object("resize", "Pod"),
            Subresource::status("Pod"),
        ],
        ..Kind::namespaced("", "v1", "Pod", "pods")
    }
}

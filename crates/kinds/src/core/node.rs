//! `core/v1` `Node`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["no"]),
        subresources: vec![
            Subresource::new(
                "proxy",
                "",
                "NodeProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::status("Node"),
        ],
        ..Kind::cluster("", "v1", "Node", "nodes").stored_at("/registry/minions")
    }
}

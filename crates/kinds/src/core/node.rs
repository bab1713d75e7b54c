//! `core/v1` `Node`.

use crate::Tree;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::map_mut;
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
        defaults,
        selectable_fields: vec![SelectableField::new("spec.unschedulable", |node| {
            let value = crate::tree::at(node, &["spec", "unschedulable"]);
            value
                .and_then(|v| v.as_bool())
                .unwrap_or_default()
                .to_string()
        })],
        strategy: Rules {
            keeps_status: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("", "v1", "Node", "nodes").stored_at("/registry/minions")
    }
}

fn defaults(object: &mut Tree) {
    let Some(status) = map_mut(object, "status") else {
        return;
    };
    if let Some(capacity) = status.get("capacity").cloned() {
        status.entry("allocatable").or_insert(capacity);
    }
}

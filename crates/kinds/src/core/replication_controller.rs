//! `core/v1` `ReplicationController`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::GarbageCollection;
use crate::tree::{at, default, make, map, map_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::scale(),
            Subresource::status("ReplicationController"),
        ],
        defaults,
        selectable_fields: vec![SelectableField::new("status.replicas", |rc| {
            crate::tree::number_at(rc, &["status", "replicas"]).to_string()
        })],
        strategy: Rules {
            generation: &["spec"],
            garbage_collection: GarbageCollection::Orphan,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
            .stored_at("/registry/controllers")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    pod_defaults::template(spec);
    let Some(labels) = at(spec, &["template", "metadata", "labels"]).cloned() else {
        return;
    };
    if map(spec, "selector").is_none_or(Tree::is_empty) {
        spec.insert("selector".into(), labels.clone());
    }
    if map_at(object, &["metadata", "labels"]).is_none_or(Tree::is_empty) {
        make(object, "metadata").insert("labels".into(), labels);
    }
}

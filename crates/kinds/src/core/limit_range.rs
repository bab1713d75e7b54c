//! `core/v1` `LimitRange`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{make, map, map_mut, maps_mut, text};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["limits"]),
        defaults,
        strategy: Rules {
            create_on_update: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "LimitRange", "limitranges")
    }
}

fn fill(item: &mut Tree, from: &str, into: &str) {
    let values = map(item, from).cloned().unwrap_or_default();
    let target = make(item, into);
    for (name, value) in values {
        target.entry(name).or_insert(value);
    }
}

fn defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    for item in maps_mut(spec, "limits") {
        if text(item, "type") != "Container" {
            continue;
        }
        fill(item, "max", "default");
        fill(item, "default", "defaultRequest");
        fill(item, "min", "defaultRequest");
        for field in ["default", "defaultRequest"] {
            if map(item, field).is_some_and(Tree::is_empty) {
                item.remove(field);
            }
        }
    }
}

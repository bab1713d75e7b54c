//! `core/v1` `PersistentVolumeClaim`.

use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::tree::{default, make};
use crate::{Kind, Subresource};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pvc"]),
        subresources: vec![Subresource::status("PersistentVolumeClaim")],
        defaults,
        strategy: Rules {
            create,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
    }
}

fn defaults(object: &mut Tree) {
    default(make(object, "spec"), "volumeMode", "Filesystem");
    default(make(object, "status"), "phase", "Pending");
}

fn create(_: &Context<'_>, object: &mut Tree) {
    object.insert("status".into(), json!({"phase": "Pending"}));
}

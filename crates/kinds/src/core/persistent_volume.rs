//! `core/v1` `PersistentVolume`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::tree::{default, make};
use crate::{Kind, Subresource};
use kontiki_object::time;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pv"]),
        subresources: vec![Subresource::status("PersistentVolume")],
        defaults,
        strategy: Rules {
            create,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("", "v1", "PersistentVolume", "persistentvolumes")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "persistentVolumeReclaimPolicy", "Retain");
    default(spec, "volumeMode", "Filesystem");
    pod_defaults::volume_source(spec);
    default(make(object, "status"), "phase", "Pending");
}

fn create(context: &Context<'_>, object: &mut Tree) {
    object.insert(
        "status".into(),
        json!({"phase": "Pending", "lastPhaseTransitionTime": time::format(context.now)}),
    );
}

//! `core/v1` `PersistentVolumeClaim`.

use crate::Tree;
use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::table::Column;
use crate::tree::{default, list_at, make, text_at};
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
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Status", "string", "phase represents the current phase of PersistentVolumeClaim.", |o, _| cells::phase(o)),
        Column::new("Volume", "string", "volumeName is the binding reference to the PersistentVolume backing this claim.", |o, _| text_at(o, &["spec", "volumeName"]).into()),
        Column::new("Capacity", "string", "capacity represents the actual resources of the underlying volume.", |o, _| text_at(o, &["status", "capacity", "storage"]).into()),
        Column::new("Access Modes", "string", "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1", |o, _| cells::access_modes(list_at(o, &["status", "accessModes"]))),
        Column::new("StorageClass", "string", "StorageClass of the pvc", |o, _| text_at(o, &["spec", "storageClassName"]).into()),
        Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc", |o, _| cells::text_or(o, &["spec", "volumeAttributesClassName"], "<unset>")),
        Column::age(),
        Column::new("VolumeMode", "string", "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.", |o, _| cells::text_or(o, &["spec", "volumeMode"], "<unset>")).wide(),
    ]
}

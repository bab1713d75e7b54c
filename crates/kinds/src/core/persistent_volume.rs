//! `core/v1` `PersistentVolume`.

use crate::Tree;
use crate::cells;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::table::Column;
use crate::tree::{default, list_at, make, text_at};
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
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Capacity", "string", "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity", |o, _| text_at(o, &["spec", "capacity", "storage"]).into()),
        Column::new("Access Modes", "string", "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes", |o, _| cells::access_modes(list_at(o, &["spec", "accessModes"]))),
        Column::new("Reclaim Policy", "string", "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming", |o, _| text_at(o, &["spec", "persistentVolumeReclaimPolicy"]).into()),
        Column::new("Status", "string", "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase", |o, _| cells::phase(o)),
        Column::new("Claim", "string", "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding", |o, _| cells::claim(o)),
        Column::new("StorageClass", "string", "StorageClass of the pv", |o, _| text_at(o, &["spec", "storageClassName"]).into()),
        Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv", |o, _| cells::text_or(o, &["spec", "volumeAttributesClassName"], "<unset>")),
        Column::new("Reason", "string", "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.", |o, _| text_at(o, &["status", "reason"]).into()),
        Column::age(),
        Column::new("VolumeMode", "string", "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.", |o, _| cells::text_or(o, &["spec", "volumeMode"], "<unset>")).wide(),
    ]
}

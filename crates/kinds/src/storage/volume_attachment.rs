//! `storage.k8s.io/v1` `VolumeAttachment`.

use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, text_at};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("VolumeAttachment")],
        strategy: Rules {
            unconditional_update: false,
            parts_keep_metadata: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttachment",
            "volumeattachments",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Attacher", "string", "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().", |o, _| text_at(o, &["spec", "attacher"]).into()) .naming(),
        Column::new("PV", "string", "persistentVolumeName represents the name of the persistent volume to attach.", |o, _| text_at(o, &["spec", "source", "persistentVolumeName"]).into()),
        Column::new("Node", "string", "nodeName represents the node that the volume should be attached to.", |o, _| text_at(o, &["spec", "nodeName"]).into()),
        Column::new("Attached", "boolean", "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.", |o, _| {
 let attached = at(o, &["status", "attached"]);
 attached.and_then(Value::as_bool).unwrap_or_default().into()
 }),
        Column::age(),
    ]
}

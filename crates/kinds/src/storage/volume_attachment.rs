//! `storage.k8s.io/v1` `VolumeAttachment`.

use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("VolumeAttachment")],
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttachment",
            "volumeattachments",
        )
    }
}

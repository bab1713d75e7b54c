//! `storage.k8s.io/v1` `VolumeAttachment`.

use crate::rules::Rules;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("VolumeAttachment")],
        strategy: Rules {
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttachment",
            "volumeattachments",
        )
    }
}

//! `core/v1` `PersistentVolumeClaim`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pvc"]),
        subresources: vec![Subresource::status("PersistentVolumeClaim")],
        ..Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
    }
}

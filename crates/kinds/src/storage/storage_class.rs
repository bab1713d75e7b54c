//! `storage.k8s.io/v1` `StorageClass`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sc"]),
        ..Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses")
    }
}

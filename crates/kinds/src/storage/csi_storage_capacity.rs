//! `storage.k8s.io/v1` `CSIStorageCapacity`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced(
        "storage.k8s.io",
        "v1",
        "CSIStorageCapacity",
        "csistoragecapacities",
    )
}

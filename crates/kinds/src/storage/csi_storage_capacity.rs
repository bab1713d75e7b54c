//! `storage.k8s.io/v1` `CSIStorageCapacity`.

use crate::Kind;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced(
            "storage.k8s.io",
            "v1",
            "CSIStorageCapacity",
            "csistoragecapacities",
        )
    }
}

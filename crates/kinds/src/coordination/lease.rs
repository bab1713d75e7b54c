//! `coordination.k8s.io/v1` `Lease`.

use crate::Kind;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            create_on_update: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
    }
}

//! `coordination.k8s.io/v1` `Lease`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
}

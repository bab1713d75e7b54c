//! `rbac.authorization.k8s.io/v1` `Role`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles")
}

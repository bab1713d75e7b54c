//! `rbac.authorization.k8s.io/v1` `RoleBinding`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced(
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
    )
}

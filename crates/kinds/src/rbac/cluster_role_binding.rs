//! `rbac.authorization.k8s.io/v1` `ClusterRoleBinding`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    )
}

//! `rbac.authorization.k8s.io/v1` `ClusterRoleBinding`.

use crate::Kind;
use crate::names;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: super::role_binding::binding_defaults,
        strategy: Rules {
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
        )
    }
}

//! `rbac.authorization.k8s.io/v1` `ClusterRole`.

use crate::Kind;
use crate::names;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
        )
    }
}

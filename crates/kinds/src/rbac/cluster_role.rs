//! `rbac.authorization.k8s.io/v1` `ClusterRole`.

use crate::Kind;
use crate::Tree;
use crate::field::FieldErrors;
use crate::names;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            validate,
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

fn validate(object: &Tree) -> FieldErrors {
    super::role::rule_errors(object, false)
}

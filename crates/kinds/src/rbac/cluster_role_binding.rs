//! `rbac.authorization.k8s.io/v1` `ClusterRoleBinding`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::field::FieldErrors;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: super::role_binding::binding_defaults,
        strategy: Rules {
            validate,
            validate_update: super::role_binding::binding_update_errors,
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Role",
            "string",
            "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
            |o, _| cells::role(o),
        ),
        Column::age(),
        Column::new(
            "Users",
            "string",
            "Users in the clusterRoleBinding",
            |o, _| cells::subjects(o, "User"),
        )
        .wide(),
        Column::new(
            "Groups",
            "string",
            "Groups in the clusterRoleBinding",
            |o, _| cells::subjects(o, "Group"),
        )
        .wide(),
        Column::new(
            "ServiceAccounts",
            "string",
            "ServiceAccounts in the clusterRoleBinding",
            |o, _| cells::subjects(o, "ServiceAccount"),
        )
        .wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    super::role_binding::binding_errors(object, &["ClusterRole"], false)
}

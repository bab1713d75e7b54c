//! `rbac.authorization.k8s.io/v1` `RoleBinding`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, make, maps_mut, text};

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: binding_defaults,
        strategy: Rules {
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced(
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
        )
    }
}

const GROUP: &str = "rbac.authorization.k8s.io";

/// Defaults of role bindings, cluster-wide or not.
pub(crate) fn binding_defaults(object: &mut Tree) {
    default(make(object, "roleRef"), "apiGroup", GROUP);
    for subject in maps_mut(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            default(subject, "apiGroup", GROUP);
        }
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Role",
            "string",
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
            |o, _| cells::role(o),
        ),
        Column::age(),
        Column::new("Users", "string", "Users in the roleBinding", |o, _| {
            cells::subjects(o, "User")
        })
        .wide(),
        Column::new("Groups", "string", "Groups in the roleBinding", |o, _| {
            cells::subjects(o, "Group")
        })
        .wide(),
        Column::new(
            "ServiceAccounts",
            "string",
            "ServiceAccounts in the roleBinding",
            |o, _| cells::subjects(o, "ServiceAccount"),
        )
        .wide(),
    ]
}

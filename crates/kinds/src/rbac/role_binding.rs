//! `rbac.authorization.k8s.io/v1` `RoleBinding`.

use crate::Kind;
use crate::Tree;
use crate::names;
use crate::rules::Rules;
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

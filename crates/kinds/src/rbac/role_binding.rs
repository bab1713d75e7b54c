//! `rbac.authorization.k8s.io/v1` `RoleBinding`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, make, map, maps, maps_mut, text, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: binding_defaults,
        strategy: Rules {
            validate,
            validate_update: binding_update_errors,
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

/// Complaints about a binding; `kinds` are the roles that it may name.
pub(crate) fn binding_errors(object: &Tree, kinds: &[&str], namespaced: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let role = map(object, "roleRef").unwrap_or(&empty);
    let path = Path::new("roleRef");
    check::one_of(&mut errors, role, "apiGroup", &path, &[GROUP]);
    check::one_of(&mut errors, role, "kind", &path, kinds);
    check::required(&mut errors, role, "name", &path);
    for (index, subject) in maps(object, "subjects").enumerate() {
        let path = Path::new("subjects").index(index);
        check::required(&mut errors, subject, "name", &path);
        let supported = ["ServiceAccount", "User", "Group"];
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !namespaced {
                    check::required(&mut errors, subject, "namespace", &path);
                }
                check::one_of(&mut errors, subject, "apiGroup", &path, &[""]);
            }
            "User" | "Group" => {
                check::one_of(&mut errors, subject, "apiGroup", &path, &[GROUP]);
            }
            other => {
                errors.push(FieldError::not_supported(
                    &path.child("kind"),
                    other,
                    &supported,
                ));
            }
        }
    }
    errors
}

/// The role of a binding stays: what was granted must not change silently.
pub(crate) fn binding_update_errors(new: &Tree, old: &Tree) -> FieldErrors {
    if meta::same(new.get("roleRef"), old.get("roleRef")) {
        return FieldErrors::new();
    }
    // Upstream shows the reference as Go prints it.
    let shown = serde_json::json!({
        "APIGroup": text_at(new, &["roleRef", "apiGroup"]),
        "Kind": text_at(new, &["roleRef", "kind"]),
        "Name": text_at(new, &["roleRef", "name"]),
    });
    vec![FieldError::invalid(
        &Path::new("roleRef"),
        shown,
        "cannot change roleRef",
    )]
}

fn validate(object: &Tree) -> FieldErrors {
    binding_errors(object, &["Role", "ClusterRole"], true)
}

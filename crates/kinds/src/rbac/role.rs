//! `rbac.authorization.k8s.io/v1` `Role`.

use crate::Kind;
use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::names;
use crate::rules::Rules;
use crate::tree::{list, maps};

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            validate,
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles")
    }
}

/// Complaints about the rules of a role.
pub(crate) fn rule_errors(object: &Tree, namespaced: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (index, rule) in maps(object, "rules").enumerate() {
        let path = Path::new("rules").index(index);
        if list(rule, "verbs").is_empty() {
            let why = "verbs must contain at least one value";
            errors.push(FieldError::required(&path.child("verbs"), why));
        }
        let urls = list(rule, "nonResourceURLs");
        let at = path.child("nonResourceURLs");
        if !urls.is_empty() {
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&at, urls.to_vec(), why));
            }
            let mixed = ["apiGroups", "resources", "resourceNames"];
            if mixed.iter().any(|field| !list(rule, field).is_empty()) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&at, urls.to_vec(), why));
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&path.child("apiGroups"), why));
        }
        if list(rule, "resources").is_empty() {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&path.child("resources"), why));
        }
    }
    errors
}

fn validate(object: &Tree) -> FieldErrors {
    rule_errors(object, true)
}

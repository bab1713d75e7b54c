//! Names of a definition.

use super::text;
use kontiki_kinds::names::is_dns1035_label;
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::Value;

/// Complaints about names, whether wished for or accepted.
pub(super) fn validate(names: &Value, path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for field in ["plural", "singular"] {
        let name = text(Some(names), field);
        check(name, name, "", &path.child(field), &mut errors);
    }
    for field in ["kind", "listKind"] {
        let name = text(Some(names), field);
        let lower = name.to_lowercase();
        let prefix = "may have mixed case, but should otherwise match: ";
        check(&lower, name, prefix, &path.child(field), &mut errors);
    }
    let each = |field: &str, errors: &mut FieldErrors| {
        let list = names[field].as_array();
        for (at, name) in list.into_iter().flatten().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let problems = is_dns1035_label(name);
            if !problems.is_empty() {
                let at = path.child(field).index(at);
                errors.push(FieldError::invalid(&at, name, problems.join(",")));
            }
        }
    };
    each("shortNames", &mut errors);
    let (kind, list_kind) = (text(Some(names), "kind"), text(Some(names), "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, why));
    }
    each("categories", &mut errors);
    errors
}

fn check(label: &str, name: &str, prefix: &str, path: &Path, errors: &mut FieldErrors) {
    if label.is_empty() {
        return;
    }
    let problems = is_dns1035_label(label);
    if !problems.is_empty() {
        let why = format!("{prefix}{}", problems.join(","));
        errors.push(FieldError::invalid(path, name, why));
    }
}

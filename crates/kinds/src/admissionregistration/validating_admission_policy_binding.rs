//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicyBinding`.

use super::policies::{self, binding_columns, binding_defaults, validate_binding};
use crate::Kind;
use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::view::View;
use std::collections::BTreeSet;

pub(crate) fn kind() -> Kind {
    policies::policy(
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        binding_defaults,
        validate,
        binding_columns(),
    )
}

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = validate_binding(object);
    let spec = View::of(object, "spec");
    let field = "validationActions";
    let mut seen = BTreeSet::new();
    for (path, action) in spec.texts(field) {
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&path, action, &ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(FieldError::duplicate(&path, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        spec.invalid(&mut errors, field, why);
    }
    if seen.is_empty() {
        let why = "at least one validation action is required";
        errors.push(FieldError::required(&spec.at(field), why));
    }
    errors
}

//! `admissionregistration.k8s.io/v1` `MutatingAdmissionPolicy`.

use super::expressions::{self, Environment, Expected};
use super::policies::{self, conditions, count, expression, policy_defaults};
use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::table::Column;
use crate::view::View;
use crate::{Kind, Storage};

pub(crate) fn kind() -> Kind {
    let counted = Column::new(
        "Mutations",
        "integer",
        "Mutation indicates the number of mutations rules defined in this configuration",
        |o, _| count(o, "mutations"),
    );
    Kind {
        // Upstream still writes the beta form.
        storage: Some(Storage::new(
            "/registry/mutatingadmissionpolicies".into(),
            "admissionregistration.k8s.io/v1beta1".into(),
        )),
        ..policies::policy(
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            policy_defaults,
            validate,
            policies::policy_columns(counted),
        )
    }
}

/// The types of patches, the field that each is in, and what comes of it.
const PATCHES: [(&str, &str, Expected); 2] = [
    ("ApplyConfiguration", "applyConfiguration", Expected::Object),
    ("JSONPatch", "jsonPatch", Expected::Patches),
];

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let environment = conditions(&mut errors, &spec);
    if spec.list("mutations").is_empty() {
        let why = "mutations must contain at least one item";
        errors.push(FieldError::required(&spec.at("mutations"), why));
    }
    for one in spec.maps("mutations") {
        mutation(&mut errors, &one, &environment);
    }
    spec.required_one_of(&mut errors, "reinvocationPolicy", &["IfNeeded", "Never"]);
    errors
}

fn mutation(errors: &mut FieldErrors, one: &View<'_>, environment: &Environment) {
    let kind = one.text("patchType");
    one.required_one_of(errors, "patchType", &PATCHES.map(|(kind, ..)| kind));
    let Some((_, field, expected)) = PATCHES.iter().find(|(known, ..)| *known == kind) else {
        return;
    };
    match one.map(field) {
        Some(patch) => {
            expression(errors, &patch, "expression");
            expressions::check(errors, &patch, "expression", environment, *expected);
        }
        None => {
            let why = format!("must be specified when patchType is {kind}");
            errors.push(FieldError::required(&one.at(field), why));
        }
    }
    for (_, other, _) in PATCHES.iter().filter(|(known, ..)| *known != kind) {
        if one.has(other) {
            let why = format!("must not be specified when patchType is {kind}");
            let shown = format!("{{{other}}}");
            errors.push(FieldError::invalid(&one.at(other), shown, why));
        }
    }
}

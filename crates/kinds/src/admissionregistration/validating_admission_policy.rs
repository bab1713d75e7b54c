//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicy`.

use super::expressions::{self, Environment, Expected};
use super::policies::{self, conditions, count, expression, policy_defaults};
use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::table::Column;
use crate::tree::text_at;
use crate::view::View;
use crate::{Kind, Subresource};
use std::collections::BTreeSet;

pub(crate) fn kind() -> Kind {
    let counted = Column::new(
        "Validations",
        "integer",
        "Validations indicates the number of validation rules defined in this configuration",
        |o, _| count(o, "validations"),
    );
    Kind {
        subresources: vec![Subresource::status("ValidatingAdmissionPolicy")],
        ..policies::policy(
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            policy_defaults,
            validate,
            policies::policy_columns(counted),
        )
    }
}

const REASONS: [&str; 4] = [
    "Forbidden",
    "Invalid",
    "RequestEntityTooLarge",
    "Unauthorized",
];
const ANNOTATIONS_MAX: usize = 20;

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let environment = conditions(&mut errors, &spec);
    let annotations = "auditAnnotations";
    if spec.list("validations").is_empty() && spec.list(annotations).is_empty() {
        for field in ["validations", annotations] {
            let why = "validations or auditAnnotations must contain at least one item";
            errors.push(FieldError::required(&spec.at(field), why));
        }
        return errors;
    }
    for one in spec.maps("validations") {
        validation(&mut errors, &one, &environment);
    }
    if spec.list(annotations).len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        spec.invalid(&mut errors, annotations, why);
    }
    let mut seen = BTreeSet::new();
    for one in spec.maps(annotations) {
        let key = one.text("key");
        if one.required(&mut errors, "key") {
            let name = text_at(object, &["metadata", "name"]);
            let whole = format!("{name}/{key}");
            for text in names::is_qualified_name(&whole) {
                errors.push(FieldError::invalid(&one.at("key"), whole.as_str(), text));
            }
        }
        expression(&mut errors, &one, "valueExpression");
        let (field, expected) = ("valueExpression", Expected::StringOrNull);
        expressions::check(&mut errors, &one, field, &environment, expected);
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&one.at("key"), key));
        }
    }
    errors
}

fn validation(errors: &mut FieldErrors, one: &View<'_>, environment: &Environment) {
    expression(errors, one, "expression");
    expressions::check(errors, one, "expression", environment, Expected::Bool);
    let (field, expected) = ("messageExpression", Expected::String);
    let environment = environment.without_authorizer();
    expressions::check(errors, one, field, &environment, expected);
    for field in ["messageExpression", "message"] {
        let text = one.text(field);
        if !text.is_empty() && text.trim().is_empty() {
            one.invalid(errors, field, "must be non-empty if specified");
        }
    }
    if one.text("message").trim().contains(['\n', '\r']) {
        one.invalid(errors, "message", "must not contain line breaks");
    }
    one.one_of(errors, "reason", &REASONS);
}

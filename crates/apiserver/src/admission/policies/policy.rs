//! A policy, compiled.

use super::super::dynamic::{Conditions, Criteria, Expression};
use kontiki_cel::Composed;
use kontiki_kinds::expressions::{Environment, Expected};
use kontiki_object::{Object, Value};
use std::sync::Arc;

/// A policy of either kind.
pub(super) struct Policy {
    pub(super) name: String,
    /// Whether what fails is refused.
    pub(super) fails_closed: bool,
    /// `apiVersion` and `kind` of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<Composed>,
    pub(super) validations: Vec<Validation>,
    /// Keys and values of annotations for the audit log.
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    /// Whether it wants to be asked again about what others have changed.
    pub(super) is_reinvoked: bool,
}

/// What must hold.
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: String,
}

/// What is changed.
pub(super) enum Mutation {
    ApplyConfiguration(Expression),
    JsonPatch(Expression),
}

fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_default()
}

fn items<'a>(json: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    json[field].as_array().into_iter().flatten()
}

impl Policy {
    pub(super) fn build(object: &Object) -> Self {
        let spec = object.get(&["spec"]).cloned().unwrap_or_default();
        let param_kind = spec.get("paramKind").filter(|kind| !kind.is_null());
        let param_kind = param_kind.map(|kind| {
            let text = |field| text(kind, field).to_owned();
            (text("apiVersion"), text("kind"))
        });
        let plain = Environment::of_request()
            .with_authorizer()
            .with_params(param_kind.is_some());
        let mut environment = plain.clone().with_variables();
        let variables: Vec<Composed> = items(&spec, "variables")
            .map(|variable| {
                let name = text(variable, "name").to_owned();
                let program = environment.compose(&name, text(variable, "expression"));
                (name, Arc::new(program))
            })
            .collect();
        let compile = |json: &Value, field: &str, expected: Expected| {
            Expression::compile(&environment, text(json, field), expected)
        };
        let for_messages = environment.without_authorizer();
        let validations = items(&spec, "validations").map(|one| Validation {
            expression: compile(one, "expression", Expected::Bool),
            message: text(one, "message").trim().to_owned(),
            message_expression: Some(text(one, "messageExpression"))
                .filter(|text| !text.is_empty())
                .map(|text| Expression::compile(&for_messages, text, Expected::String)),
            reason: match text(one, "reason") {
                "" => "Invalid".to_owned(),
                reason => reason.to_owned(),
            },
        });
        let annotations = items(&spec, "auditAnnotations").map(|one| {
            let value = compile(one, "valueExpression", Expected::StringOrNull);
            (text(one, "key").to_owned(), value)
        });
        let mutations = items(&spec, "mutations").map(|one| match text(one, "patchType") {
            "JSONPatch" => {
                Mutation::JsonPatch(compile(&one["jsonPatch"], "expression", Expected::Patches))
            }
            _ => {
                let patch = &one["applyConfiguration"];
                Mutation::ApplyConfiguration(compile(patch, "expression", Expected::Object))
            }
        });
        Self {
            name: object.name().to_owned(),
            fails_closed: text(&spec, "failurePolicy") != "Ignore",
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            conditions: Conditions::parse(&spec["matchConditions"], &plain),
            validations: validations.collect(),
            annotations: annotations.collect(),
            mutations: mutations.collect(),
            is_reinvoked: text(&spec, "reinvocationPolicy") == "IfNeeded",
            variables,
            param_kind,
        }
    }
}

//! What both kinds of admission policies, and both kinds of their bindings,
//! share.

use super::checks;
use super::expressions::Environment;
use super::webhooks::match_defaults;
use crate::Kind;
use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors};
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, map, map_mut, map_mut_at, text, text_at};
use crate::view::{TextRule, View};
use kontiki_object::Value;

/// A kind of policies or bindings.
pub(super) fn policy(
    name: &'static str,
    plural: &'static str,
    defaults: fn(&mut Tree),
    validate: fn(&Tree) -> FieldErrors,
    columns: Vec<Column>,
) -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        defaults,
        strategy: Rules {
            generation: &["spec"],
            unconditional_update: false,
            validate,
            ..Rules::PLAIN
        }
        .strategy(),
        columns,
        ..Kind::cluster("admissionregistration.k8s.io", "v1", name, plural)
    }
}

/// The columns of policies, with the one that counts what they do.
pub(super) fn policy_columns(counted: Column) -> Vec<Column> {
    let parameters = Column::new(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
        |o, _| param_kind(o).into(),
    );
    vec![Column::name(), counted, parameters, Column::age()]
}

fn param_kind(object: &Tree) -> String {
    let kind = map(object, "spec").and_then(|spec| map(spec, "paramKind"));
    kind.map_or_else(
        || "<unset>".to_owned(),
        |kind| format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")),
    )
}

/// The columns of bindings.
pub(super) fn binding_columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "PolicyName",
            "string",
            "PolicyName indicates the policy definition which the policy binding binded to",
            |o, _| text_at(o, &["spec", "policyName"]).into(),
        ),
        Column::new(
            "ParamRef",
            "string",
            "ParamRef indicates the param resource which sets the configuration param",
            |o, _| param_ref(o).into(),
        ),
        Column::age(),
    ]
}

fn param_ref(object: &Tree) -> String {
    let parameter = map(object, "spec").and_then(|spec| map(spec, "paramRef"));
    let Some(parameter) = parameter else {
        return "<unset>".to_owned();
    };
    match (text(parameter, "namespace"), text(parameter, "name")) {
        ("", "") => "*".to_owned(),
        (namespace, "") => format!("{namespace}/*"),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// Defaults that both kinds of policies share.
pub(super) fn policy_defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    default(spec, "failurePolicy", "Fail");
    if let Some(constraints) = map_mut(spec, "matchConstraints") {
        match_defaults(constraints);
    }
}

/// Defaults that both kinds of bindings share.
pub(super) fn binding_defaults(object: &mut Tree) {
    if let Some(resources) = map_mut_at(object, &["spec", "matchResources"]) {
        match_defaults(resources);
    }
}

/// What policies of both kinds say first: when they apply, and their variables.
/// Answers what the expressions that follow may name.
pub(super) fn conditions(errors: &mut FieldErrors, spec: &View<'_>) -> Environment {
    checks::failure_policy(errors, spec);
    if let Some(kind) = spec.map("paramKind") {
        parameter_kind(errors, &kind);
    }
    match spec.map("matchConstraints") {
        None => errors.push(FieldError::required(&spec.at("matchConstraints"), "")),
        Some(constraints) => {
            checks::match_resources(errors, &constraints);
            if constraints.list("resourceRules").is_empty() {
                errors.push(FieldError::required(&constraints.at("resourceRules"), ""));
            }
        }
    }
    let has_params = spec.has("paramKind");
    checks::match_conditions(errors, spec, has_params);
    let mut environment = Environment::of_request()
        .with_authorizer()
        .with_params(has_params)
        .with_variables();
    for variable in spec.maps("variables") {
        let name = variable.text("name");
        if name.trim().is_empty() {
            let why = "name is not specified";
            errors.push(FieldError::required(&variable.at("name"), why));
        } else if !is_identifier(name) {
            variable.invalid(errors, "name", "must be a valid CEL identifier");
        }
        expression(errors, &variable, "expression");
        let text = variable.text("expression");
        if !text.trim().is_empty()
            && let Err(why) = environment.compose(name, text)
        {
            variable.invalid(errors, "expression", why.to_string());
        }
    }
    environment
}

/// An expression that must be there.
pub(super) fn expression(errors: &mut FieldErrors, holder: &View<'_>, field: &str) {
    if holder.text(field).trim().is_empty() {
        let why = format!("{field} is not specified");
        errors.push(FieldError::required(&holder.at(field), why));
    }
}

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn is_identifier(name: &str) -> bool {
    names::is_c_identifier(name).is_empty() && !RESERVED.contains(&name)
}

fn parameter_kind(errors: &mut FieldErrors, kind: &View<'_>) {
    let version = kind.text("apiVersion");
    let field = "apiVersion";
    if kind.required(errors, field) {
        let (group, number) = version.split_once('/').unwrap_or(("", version));
        if number.contains('/') {
            let why = format!("unexpected GroupVersion string: {version}");
            kind.invalid(errors, field, why);
        } else {
            let rules: [(&str, TextRule); 2] = [
                (group, names::is_dns1123_subdomain),
                (number, names::is_dns1035_label),
            ];
            for (part, rule) in rules.into_iter().filter(|(part, _)| !part.is_empty()) {
                let texts = rule(part);
                if !texts.is_empty() {
                    let path = kind.at(field);
                    errors.push(FieldError::invalid(&path, part, texts.join(",")));
                }
            }
            if number.is_empty() {
                kind.invalid(errors, field, "version must be specified");
            }
        }
    }
    if kind.required(errors, "kind") {
        let texts = names::is_dns1035_label(&kind.text("kind").to_lowercase());
        if !texts.is_empty() {
            let why = format!(
                "may have mixed case, but should otherwise match: {}",
                texts.join(",")
            );
            kind.invalid(errors, "kind", why);
        }
    }
}

/// A binding, but for what its policy's kind adds.
pub(super) fn validate_binding(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    spec.required_name(&mut errors, "policyName", names::is_dns1123_subdomain);
    if let Some(parameter) = spec.map("paramRef") {
        parameters(&mut errors, &parameter);
    }
    if let Some(resources) = spec.map("matchResources") {
        checks::match_resources(&mut errors, &resources);
    }
    errors
}

fn parameters(errors: &mut FieldErrors, parameter: &View<'_>) {
    parameter.name(errors, "name", names::is_path_segment);
    let has_name = !parameter.text("name").is_empty();
    let selector = parameter.value("selector");
    if has_name && selector.is_some() {
        for field in ["name", "selector"] {
            let why = "name and selector are mutually exclusive";
            errors.push(FieldError::forbidden(&parameter.at(field), why));
        }
    } else if !has_name && selector.is_none() {
        let why = "one of name or selector must be specified";
        errors.push(FieldError::required(&parameter.path, why));
    }
    check::selector(errors, selector, &parameter.at("selector"));
    parameter.required_one_of(errors, "parameterNotFoundAction", &["Allow", "Deny"]);
}

/// How many things a list of the spec holds.
pub(super) fn count(object: &Tree, field: &str) -> Value {
    crate::tree::list_at(object, &["spec", field]).len().into()
}

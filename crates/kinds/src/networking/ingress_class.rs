//! `networking.k8s.io/v1` `IngressClass`.

use super::checks;
use crate::Kind;
use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, map, map_mut_at, text, text_at};
use crate::view::{View, named};

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules {
            validate,
            validate_update,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
    }
}

fn defaults(object: &mut Tree) {
    if let Some(parameters) = map_mut_at(object, &["spec", "parameters"]) {
        default(parameters, "scope", "Cluster");
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Controller",
            "string",
            "Controller that is responsible for handling this class",
            |o, _| text_at(o, &["spec", "controller"]).into(),
        ),
        Column::new(
            "Parameters",
            "string",
            "A reference to a resource with additional parameters",
            |o, _| parameters(o).into(),
        ),
        Column::age(),
    ]
}

fn parameters(object: &Tree) -> String {
    let Some(parameters) = map(object, "spec").and_then(|spec| map(spec, "parameters")) else {
        return "<none>".to_owned();
    };
    let mut kind = text(parameters, "kind").to_owned();
    let group = text(parameters, "apiGroup");
    if !group.is_empty() {
        kind = format!("{kind}.{group}");
    }
    format!("{kind}/{}", text(parameters, "name"))
}

const CONTROLLER_LENGTH_MAX: usize = 250;

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let path = spec.at("controller");
    let controller = spec.text("controller");
    if controller.len() > CONTROLLER_LENGTH_MAX {
        errors.push(FieldError::too_long(&path, CONTROLLER_LENGTH_MAX));
    }
    check::domain_prefixed_path(&mut errors, controller, &path);
    let Some(parameters) = spec.map("parameters") else {
        return errors;
    };
    checks::reference(&mut errors, &parameters);
    parameters.required_one_of(&mut errors, "scope", &["Cluster", "Namespace"]);
    let namespace = parameters.at("namespace");
    match parameters.text("scope") {
        "Namespace" if !parameters.has("namespace") => {
            let why = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(&namespace, why));
        }
        "Namespace" => {
            let name = parameters.text("namespace");
            named(&mut errors, &namespace, name, names::is_dns1123_label);
        }
        "Cluster" => {
            let why = "`parameters.scope` is set to 'Cluster'";
            parameters.forbid(&mut errors, "namespace", why);
        }
        _ => {}
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (new, old) = (View::of(new, "spec"), View::of(old, "spec"));
    check::immutable(&mut errors, new.tree, old.tree, &["controller"], &new.path);
    errors
}

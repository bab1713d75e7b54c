//! Which objects a quota is about.

use super::Evaluator;
use crate::Tree;
use crate::core::qos;
use crate::tree::{at, list_at, text, text_at, texts};
use kontiki_object::Value;

/// Whether an object is in every scope of a quota.
#[must_use]
pub fn all_match(evaluator: &Evaluator, quota: &Tree, object: &Tree) -> bool {
    let scopes = list_at(quota, &["spec", "scopes"]);
    let expressions = list_at(quota, &["spec", "scopeSelector", "matchExpressions"]);
    if scopes.is_empty() && expressions.is_empty() {
        return true;
    }
    if !evaluator.has_scopes() {
        return false;
    }
    let plain = scopes.iter().filter_map(Value::as_str);
    let mut expressions = expressions.iter().filter_map(Value::as_object);
    plain
        .into_iter()
        .all(|scope| is_in(object, scope, &Tree::new()))
        && expressions.all(|expression| is_in(object, text(expression, "scopeName"), expression))
}

fn is_in(object: &Tree, scope: &str, expression: &Tree) -> bool {
    let is_best_effort = || qos::class(object) == "BestEffort";
    let is_terminating = || at(object, &["spec", "activeDeadlineSeconds"]).is_some();
    match scope {
        "Terminating" => is_terminating(),
        "NotTerminating" => !is_terminating(),
        "BestEffort" => is_best_effort(),
        "NotBestEffort" => !is_best_effort(),
        "PriorityClass" => selects(expression, text_at(object, &["spec", "priorityClassName"])),
        "VolumeAttributesClass" => {
            let class = text_at(object, &["spec", "volumeAttributesClassName"]);
            selects(expression, class)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(object),
        _ => false,
    }
}

/// Whether a name is among those of an expression; a scope without one asks
/// for any name.
fn selects(expression: &Tree, name: &str) -> bool {
    let is_among = || texts(expression, "values").any(|value| value == name);
    match text(expression, "operator") {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "DoesNotExist" => name.is_empty(),
        _ => !name.is_empty(),
    }
}

fn crosses_namespaces(pod: &Tree) -> bool {
    let crosses = |term: &Value| {
        let has_list = term["namespaces"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        has_list || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let of = |list: &str| list_at(pod, &["spec", "affinity", affinity, list]);
        let required = of("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = of("preferredDuringSchedulingIgnoredDuringExecution");
        required.iter().any(crosses) || preferred.iter().any(|one| crosses(&one["podAffinityTerm"]))
    })
}

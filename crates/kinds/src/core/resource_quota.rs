//! `core/v1` `ResourceQuota`.

use crate::Tree;
use crate::amounts::{self, Names};
use crate::cells;
use crate::field::{FieldError, FieldErrors};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::view::View;
use crate::{Kind, Subresource};
use std::collections::BTreeSet;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["quota"]),
        subresources: vec![Subresource::status("ResourceQuota")],
        strategy: Rules {
            validate,
            validate_update,
            validate_status,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Request",
            "string",
            "Request represents a minimum amount of cpu/memory that a container may consume.",
            |o, _| cells::quota(o, false),
        ),
        Column::new(
            "Limit",
            "string",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
            |o, _| cells::quota(o, true),
        ),
        Column::age(),
    ]
}

/// Which pods a quota counts.
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    amounts::list(&mut errors, Names::Quota, &spec, "hard");
    scopes(&mut errors, &spec);
    scope_selector(&mut errors, &spec);
    errors
}

/// Whether a scope makes sense for a resource.
fn fits(scope: &str, resource: &str) -> bool {
    let is_pod = resource == "pods";
    let is_compute = matches!(
        resource,
        "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
    );
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => is_pod || is_compute,
        "BestEffort" => is_pod,
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn misfits<'a>(spec: &View<'a>, scope: &str) -> usize {
    let hard = spec.entries("hard").map(|(_, name, _)| name);
    hard.filter(|name| amounts::is_quota_resource(name) && !fits(scope, name))
        .count()
}

fn contradict(all: &BTreeSet<&str>) -> usize {
    let pairs = [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ];
    let both = |(a, b): &(&str, &str)| all.contains(a) && all.contains(b);
    pairs.iter().filter(|pair| both(pair)).count()
}

fn scopes(errors: &mut FieldErrors, spec: &View<'_>) {
    let mut all = BTreeSet::new();
    for (_, scope) in spec.texts("scopes") {
        if !SCOPES.contains(&scope) {
            spec.invalid(errors, "scopes", "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            spec.invalid(errors, "scopes", "unsupported scope applied to resource");
        }
        all.insert(scope);
    }
    for _ in 0..contradict(&all) {
        spec.invalid(errors, "scopes", "conflicting scopes");
    }
}

fn scope_selector(errors: &mut FieldErrors, spec: &View<'_>) {
    let Some(selector) = spec.map("scopeSelector") else {
        return;
    };
    let mut all = BTreeSet::new();
    let path = selector.at("matchExpressions");
    for one in selector.maps("matchExpressions") {
        // Upstream's paths leave the index out.
        let one = View::new(one.tree, path.clone());
        let (scope, operator) = (one.text("scopeName"), one.text("operator"));
        if !SCOPES.contains(&scope) {
            one.invalid(errors, "scopeName", "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            let why = "unsupported scope applied to resource";
            let shown = crate::go_form::shown("io.k8s.api.core.v1.ScopeSelector", selector.tree);
            errors.push(FieldError::invalid_shown(&path, shown, why));
        }
        let has_values = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope) && !has_values && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            one.invalid(errors, "operator", why);
        }
        let count = one.list("values").len();
        match operator {
            "In" | "NotIn" if count == 0 => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&one.at("values"), why));
            }
            "Exists" | "DoesNotExist" if count != 0 => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                one.invalid(errors, "values", why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => one.invalid(errors, "operator", "not a valid selector operator"),
        }
        all.insert(scope);
    }
    for _ in 0..contradict(&all) {
        let shown = spec.value("scopes").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(&path, shown, "conflicting scopes"));
    }
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let all = |object| -> BTreeSet<String> {
        let spec = View::of(object, "spec");
        let scopes = spec.texts("scopes").map(|(_, scope)| scope.to_owned());
        scopes.collect()
    };
    if all(new) != all(old) {
        View::of(new, "spec").invalid(&mut errors, "scopes", "field is immutable");
    }
    errors
}

fn validate_status(new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let status = View::of(new, "status");
    for field in ["hard", "used"] {
        amounts::list(&mut errors, Names::Quota, &status, field);
    }
    errors
}

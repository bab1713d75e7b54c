//! What both kinds of webhook configurations share.

use super::checks;
use crate::Kind;
use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, list, make, map_mut_at, maps_mut};
use crate::view::{View, named};
use std::collections::BTreeSet;

/// A kind of configurations of webhooks.
pub(super) fn configuration(name: &'static str, plural: &'static str) -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        defaults,
        strategy: Rules {
            generation: &["webhooks"],
            unconditional_update: false,
            validate,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: vec![
            Column::name(),
            Column::new(
                "Webhooks",
                "integer",
                "Webhooks indicates the number of webhooks registered in this configuration",
                |o, _| list(o, "webhooks").len().into(),
            ),
            Column::age(),
        ],
        ..Kind::cluster("admissionregistration.k8s.io", "v1", name, plural)
    }
}

/// Defaults that both kinds of webhooks share.
pub(super) fn defaults(object: &mut Tree) {
    for webhook in maps_mut(object, "webhooks") {
        default(webhook, "failurePolicy", "Fail");
        default(webhook, "timeoutSeconds", 10);
        match_defaults(webhook);
        for rule in maps_mut(webhook, "rules") {
            default(rule, "scope", "*");
        }
        if let Some(service) = map_mut_at(webhook, &["clientConfig", "service"]) {
            default(service, "port", 443);
        }
    }
}

/// Defaults of what decides which requests are meant.
pub(super) fn match_defaults(parent: &mut Tree) {
    default(parent, "matchPolicy", "Equivalent");
    make(parent, "namespaceSelector");
    make(parent, "objectSelector");
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in maps_mut(parent, field) {
            default(rule, "scope", "*");
        }
    }
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = BTreeSet::new();
    for hook in View::new(object, Path::root()).maps("webhooks") {
        webhook(&mut errors, &hook);
        review_versions(&mut errors, &hook);
        let name = hook.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&hook.at("name"), name));
        }
    }
    errors
}

/// Side effects that may happen although a request changes nothing are not
/// allowed any more.
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const NAME_LABELS_MIN: usize = 3;

fn webhook(errors: &mut FieldErrors, hook: &View<'_>) {
    if hook.required(errors, "name") {
        let name = hook.text("name");
        let texts = names::is_dns1123_subdomain(name);
        if !texts.is_empty() {
            hook.invalid(errors, "name", texts.join(","));
        } else if name.split('.').count() < NAME_LABELS_MIN {
            let why = "should be a domain with at least three segments separated by dots";
            hook.invalid(errors, "name", why);
        }
    }
    for rule in hook.maps("rules") {
        checks::rule(errors, &rule);
    }
    checks::failure_policy(errors, hook);
    checks::match_policy(errors, hook);
    if hook.has("sideEffects") {
        hook.one_of(errors, "sideEffects", &SIDE_EFFECTS);
    } else {
        let why = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
        errors.push(FieldError::required(&hook.at("sideEffects"), why));
    }
    if hook
        .number("timeoutSeconds")
        .is_some_and(|seconds| !(1..=30).contains(&seconds))
    {
        let why = "the timeout value must be between 1 and 30 seconds";
        hook.invalid(errors, "timeoutSeconds", why);
    }
    checks::selectors(errors, hook);
    hook.one_of(errors, "reinvocationPolicy", &["IfNeeded", "Never"]);
    checks::client_config(errors, &hook.inner("clientConfig"));
    checks::match_conditions(errors, hook, false);
}

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

fn review_versions(errors: &mut FieldErrors, hook: &View<'_>) {
    let field = "admissionReviewVersions";
    let known = REVIEW_VERSIONS.join(", ");
    if hook.list(field).is_empty() {
        let why = format!("must specify one of {known}");
        errors.push(FieldError::required(&hook.at(field), why));
        return;
    }
    let mut seen = BTreeSet::new();
    for (path, version) in hook.texts(field) {
        if seen.insert(version) {
            named(errors, &path, version, names::is_dns1035_label);
        } else {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
        }
    }
    if !REVIEW_VERSIONS.iter().any(|version| seen.contains(version)) {
        let why = format!("must include at least one of {known}");
        hook.invalid(errors, field, why);
    }
}

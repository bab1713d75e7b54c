//! Validation that the kinds of this group share: which requests are meant,
//! conditions, and how webhooks are called.

use super::expressions::{self, Environment, Expected};
use crate::check;
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::{View, named};
use std::collections::BTreeSet;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// What becomes of a request if a policy or webhook fails.
pub(super) fn failure_policy(errors: &mut FieldErrors, holder: &View<'_>) {
    holder.one_of(errors, "failurePolicy", &FAILURE_POLICIES);
}

/// Whether requests for other versions of a resource are meant as well.
pub(super) fn match_policy(errors: &mut FieldErrors, holder: &View<'_>) {
    holder.one_of(errors, "matchPolicy", &MATCH_POLICIES);
}

/// The selectors of namespaces and objects.
pub(super) fn selectors(errors: &mut FieldErrors, holder: &View<'_>) {
    for field in ["namespaceSelector", "objectSelector"] {
        check::selector(errors, holder.value(field), &holder.at(field));
    }
}

fn alone(errors: &mut FieldErrors, rule: &View<'_>, field: &str, what: &str) {
    let list = rule.list(field);
    if list.len() > 1 && list.iter().any(|one| one == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        rule.invalid(errors, field, why);
    }
}

fn listed(errors: &mut FieldErrors, rule: &View<'_>, field: &str) {
    if rule.list(field).is_empty() {
        errors.push(FieldError::required(&rule.at(field), ""));
    }
}

/// A rule that says which requests are meant.
pub(super) fn rule(errors: &mut FieldErrors, rule: &View<'_>) {
    listed(errors, rule, "operations");
    alone(errors, rule, "operations", "operations");
    for (path, operation) in rule.texts("operations") {
        if !OPERATIONS.contains(&operation) {
            errors.push(FieldError::not_supported(&path, operation, &OPERATIONS));
        }
    }
    listed(errors, rule, "apiGroups");
    alone(errors, rule, "apiGroups", "API groups");
    listed(errors, rule, "apiVersions");
    alone(errors, rule, "apiVersions", "API versions");
    for (path, _) in rule.texts("apiVersions").filter(|(_, v)| v.is_empty()) {
        errors.push(FieldError::required(&path, ""));
    }
    resources(errors, rule);
    rule.one_of(errors, "scope", &SCOPES);
}

fn resources(errors: &mut FieldErrors, rule: &View<'_>) {
    let field = "resources";
    listed(errors, rule, field);
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    // Upstream remembers only whether the last resource was a plain one.
    let mut ends_plain = false;
    for (path, resource) in rule.texts(field) {
        if resource.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let Some((name, part)) = resource.split_once('/') else {
            ends_plain = resource != "*";
            continue;
        };
        for (is_covered, by) in [
            (whole.contains(name), format!("{name}/*")),
            (everywhere.contains(part), format!("*/{part}")),
        ] {
            if is_covered {
                let why = format!("if '{by}' is present, must not specify {resource}");
                errors.push(FieldError::invalid(&path, resource, why));
            }
        }
        if part == "*" {
            whole.insert(name);
        }
        if name == "*" {
            everywhere.insert(part);
        }
    }
    let list = rule.list(field);
    let has = |wanted: &str| list.iter().any(|one| one == wanted);
    if list.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        rule.invalid(errors, field, why);
    }
    if has("*") && ends_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        rule.invalid(errors, field, why);
    }
}

/// Which requests a policy or binding means.
pub(super) fn match_resources(errors: &mut FieldErrors, holder: &View<'_>) {
    match_policy(errors, holder);
    selectors(errors, holder);
    for field in ["resourceRules", "excludeResourceRules"] {
        for one in holder.maps(field) {
            let mut seen = BTreeSet::new();
            for (path, name) in one.texts("resourceNames") {
                named(errors, &path, name, names::is_path_segment);
                if !seen.insert(name) {
                    errors.push(FieldError::duplicate(&path, name));
                }
            }
            rule(errors, &one);
        }
    }
}

/// Conditions that must all hold; `has_params`: about parameters, too.
pub(super) fn match_conditions(errors: &mut FieldErrors, holder: &View<'_>, has_params: bool) {
    let environment = Environment::of_request()
        .with_authorizer()
        .with_params(has_params);
    let field = "matchConditions";
    let count = holder.list(field).len();
    if count > CONDITIONS_MAX {
        errors.push(FieldError::too_many(
            &holder.at(field),
            count,
            CONDITIONS_MAX,
        ));
    }
    let mut seen = BTreeSet::new();
    for condition in holder.maps(field) {
        if condition.text("expression").trim().is_empty() {
            errors.push(FieldError::required(&condition.at("expression"), ""));
        }
        expressions::check(
            errors,
            &condition,
            "expression",
            &environment,
            Expected::Bool,
        );
        condition.required_name(errors, "name", names::is_qualified_name);
        let name = condition.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&condition.at("name"), name));
        }
    }
}

/// Where a webhook is: at a URL or a service.
pub(super) fn client_config(errors: &mut FieldErrors, config: &View<'_>) {
    match (config.has("url"), config.map("service")) {
        (true, None) => url(errors, config),
        (false, Some(service)) => self::service(errors, &service),
        _ => {
            let why = "exactly one of url or service is required";
            errors.push(FieldError::required(&config.path, why));
        }
    }
}

fn url(errors: &mut FieldErrors, config: &View<'_>) {
    let path = config.at("url");
    let text = config.text("url");
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = authority.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut complain = |shown: &str, why: &str| {
        errors.push(FieldError::invalid(&path, shown, why));
    };
    const FORM: &str = "; desired format: https://host[/path]";
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        complain(scheme, &why);
    }
    if host.is_empty() {
        complain(host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        complain(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        complain(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        complain(query, "query parameters are not permitted in the URL");
    }
}

fn service(errors: &mut FieldErrors, service: &View<'_>) {
    for field in ["name", "namespace"] {
        if service.text(field).is_empty() {
            let why = format!("service {field} is required");
            errors.push(FieldError::required(&service.at(field), why));
        }
    }
    if let Some(port) = service.number("port") {
        let texts = names::is_port_number(port);
        if !texts.is_empty() {
            let why = format!("port is not valid: {}", texts.join(","));
            service.invalid(errors, "port", why);
        }
    }
    let path = service.text("path");
    if path.is_empty() || path == "/" {
        return;
    }
    if path == "//" {
        service.invalid(errors, "path", "segment[0] may not be empty");
    }
    if !path.starts_with('/') {
        service.invalid(errors, "path", "must start with a '/'");
    }
    let steps = path.get(1..).unwrap_or_default();
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            service.invalid(errors, "path", why);
            continue;
        }
        for text in names::is_dns1123_subdomain(step) {
            service.invalid(errors, "path", format!("segment[{index}]: {text}"));
        }
    }
}

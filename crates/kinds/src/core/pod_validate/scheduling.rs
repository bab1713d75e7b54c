//! Validation of what directs pods to nodes.

use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::names;
use crate::view::{View, named};
use std::collections::BTreeSet;

/// A label name that may be empty no more than any other.
fn label_name(errors: &mut FieldErrors, name: &str, path: &Path) {
    errors.extend(meta::validate_label_name(name, path));
}

/// Checks `nodeAffinity`, `podAffinity` and `podAntiAffinity`.
pub(super) fn affinity(errors: &mut FieldErrors, spec: &View<'_>) {
    let affinity = spec.inner("affinity");
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = affinity.inner("nodeAffinity");
    if let Some(selector) = nodes.map(REQUIRED) {
        node_selector(errors, &selector);
    }
    for term in nodes.maps(PREFERRED) {
        weight(errors, &term);
        node_term(errors, &term.inner("preference"), false);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.inner(field);
        for term in pods.maps(REQUIRED) {
            pod_term(errors, &term);
        }
        for term in pods.maps(PREFERRED) {
            weight(errors, &term);
            pod_term(errors, &term.inner("podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut FieldErrors, term: &View<'_>) {
    let weight = term.number("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        let why = "must be in the range 1-100";
        errors.push(FieldError::invalid(&term.at("weight"), weight, why));
    }
}

/// A node selector: at least one term.
pub(crate) fn node_selector(errors: &mut FieldErrors, selector: &View<'_>) {
    if selector.list("nodeSelectorTerms").is_empty() {
        let why = "must have at least one node selector term";
        errors.push(FieldError::required(&selector.at("nodeSelectorTerms"), why));
    }
    for term in selector.maps("nodeSelectorTerms") {
        node_term(errors, &term, true);
    }
}

fn node_term(errors: &mut FieldErrors, term: &View<'_>, checks_values: bool) {
    for one in term.maps("matchExpressions") {
        let values = one.list("values").len();
        let path = one.at("values");
        match one.text("operator") {
            "In" | "NotIn" if values == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path, why));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path, why));
            }
            "Gt" | "Lt" if values != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(&path, why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(&one.at("operator"), other, why));
            }
        }
        label_name(errors, one.text("key"), &one.at("key"));
        for (path, value) in one.texts("values").filter(|_| checks_values) {
            named(errors, &path, value, names::is_label_value);
        }
    }
    for one in term.maps("matchFields") {
        node_field(errors, &one);
    }
}

fn node_field(errors: &mut FieldErrors, one: &View<'_>) {
    match one.text("operator") {
        "In" | "NotIn" => {
            if one.list("values").len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&one.at("values"), why));
            }
        }
        other => {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(&one.at("operator"), other, why));
        }
    }
    if one.text("key") == "metadata.name" {
        for (path, value) in one.texts("values") {
            named(errors, &path, value, names::is_dns1123_subdomain);
        }
    } else {
        let key = one.text("key");
        let why = "not a valid field selector key";
        errors.push(FieldError::invalid(&one.at("key"), key, why));
    }
}

fn pod_term(errors: &mut FieldErrors, term: &View<'_>) {
    for field in ["labelSelector", "namespaceSelector"] {
        check::selector(errors, term.value(field), &term.at(field));
    }
    for (_, name) in term.texts("namespaces") {
        named(errors, &term.at("namespace"), name, names::is_dns1123_label);
    }
    match_label_keys(errors, term);
    let key = term.text("topologyKey");
    if key.is_empty() {
        let why = "can not be empty";
        errors.push(FieldError::required(&term.at("topologyKey"), why));
    }
    label_name(errors, key, &term.at("topologyKey"));
}

/// The keys that a label selector names.
fn selector_keys<'a>(selector: Option<&View<'a>>) -> BTreeSet<&'a str> {
    let Some(selector) = selector else {
        return BTreeSet::new();
    };
    let expressions = selector.maps("matchExpressions").map(|one| one.text("key"));
    let labels = selector.entries("matchLabels").map(|(_, key, _)| key);
    expressions.chain(labels).collect()
}

fn match_label_keys(errors: &mut FieldErrors, term: &View<'_>) {
    let selector = term.map("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        if term.list(field).is_empty() {
            continue;
        }
        if selector.is_none() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(&term.at(field), why));
            continue;
        }
        for (path, key) in term.texts(field) {
            label_name(errors, key, &path);
        }
    }
    if let Some(selector) = &selector {
        // The server adds an expression for each of these keys: one more is one too many.
        let mut seen: BTreeSet<&str> = selector.entries("matchLabels").map(|e| e.1).collect();
        for one in selector.maps("matchExpressions") {
            let key = one.text("key");
            let index = term.texts("matchLabelKeys").position(|(_, own)| own == key);
            if let Some(index) = index.filter(|_| seen.contains(key)) {
                let why = "exists in both matchLabelKeys and labelSelector";
                errors.push(FieldError::invalid(&term.path.index(index), key, why));
            }
            seen.insert(key);
        }
    }
    let others: Vec<&str> = term
        .texts("mismatchLabelKeys")
        .map(|(_, key)| key)
        .collect();
    for (path, key) in term.texts("matchLabelKeys") {
        if others.contains(&key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(&path, key, why));
        }
    }
}

/// Checks `topologySpreadConstraints`.
pub(super) fn spread(errors: &mut FieldErrors, spec: &View<'_>) {
    let all: Vec<View<'_>> = spec.maps("topologySpreadConstraints").collect();
    for (index, one) in all.iter().enumerate() {
        let skew = one.number("maxSkew").unwrap_or_default();
        if skew <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(&one.at("maxSkew"), skew, why));
        }
        let key = one.text("topologyKey");
        if key.is_empty() {
            let why = "can not be empty";
            errors.push(FieldError::required(&one.at("topologyKey"), why));
        }
        let action = one.text("whenUnsatisfiable");
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            let path = one.at("whenUnsatisfiable");
            errors.push(FieldError::not_supported(&path, action, &actions));
        }
        let again = |other: &&View<'_>| {
            other.text("topologyKey") == key && other.text("whenUnsatisfiable") == action
        };
        if all[index + 1..].iter().any(|other| again(&other)) {
            let path = one.at("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, format!("{{{key}, {action}}}")));
        }
        min_domains(errors, one, action);
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one.one_of(errors, field, &["Honor", "Ignore"]);
        }
        spread_keys(errors, one);
        check::selector(errors, one.value("labelSelector"), &one.at("labelSelector"));
    }
}

fn min_domains(errors: &mut FieldErrors, one: &View<'_>, action: &str) {
    let Some(least) = one.number("minDomains") else {
        return;
    };
    if least <= 0 {
        one.invalid(errors, "minDomains", "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        let why =
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        one.invalid(errors, "minDomains", why);
    }
}

fn spread_keys(errors: &mut FieldErrors, one: &View<'_>) {
    if one.list("matchLabelKeys").is_empty() {
        return;
    }
    let selector = one.map("labelSelector");
    if selector.is_none() {
        let why = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(&one.at("matchLabelKeys"), why));
    }
    let known = selector_keys(selector.as_ref());
    for (path, key) in one.texts("matchLabelKeys") {
        label_name(errors, key, &path);
        if known.contains(key) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path, key, why));
        }
    }
}

/// The effects that taints have.
pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks `tolerations`.
pub(crate) fn tolerations(errors: &mut FieldErrors, holder: &View<'_>) {
    for one in holder.maps("tolerations") {
        let (key, operator) = (one.text("key"), one.text("operator"));
        let value = one.text("value");
        let path = one.at("operator");
        if !key.is_empty() {
            label_name(errors, key, &one.at("key"));
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&path, operator, why));
        }
        let effect = one.text("effect");
        if one.has("tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&one.at("effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let texts = names::is_label_value(value);
                if !texts.is_empty() {
                    errors.push(FieldError::invalid(&path, value, texts.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path, value, why));
            }
            "Exists" => {}
            other => {
                let supported = ["Equal", "Exists"];
                errors.push(FieldError::not_supported(&path, other, &supported));
            }
        }
        if !effect.is_empty() {
            one.one_of(errors, "effect", &EFFECTS);
        }
    }
}

/// Checks `schedulingGates` and `readinessGates`.
pub(super) fn gates(errors: &mut FieldErrors, spec: &View<'_>) {
    for gate in spec.maps("readinessGates") {
        let kind = gate.text("conditionType");
        named(
            errors,
            &gate.at("conditionType"),
            kind,
            names::is_qualified_name,
        );
    }
    let mut seen = BTreeSet::new();
    for gate in spec.maps("schedulingGates") {
        let name = gate.text("name");
        named(errors, &gate.path, name, names::is_qualified_name);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&gate.path, name));
        }
    }
}

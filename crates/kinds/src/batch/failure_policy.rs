//! Validation of what a job's failed pods lead to.

use crate::field::{FieldError, FieldErrors};
use crate::view::View;

const RULES_MAX: usize = 20;
const CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// Complaints about `podFailurePolicy` of a job's spec.
pub(crate) fn validate(errors: &mut FieldErrors, spec: &View<'_>) {
    let Some(policy) = spec.map("podFailurePolicy") else {
        return;
    };
    let rules = policy.list("rules");
    if rules.len() > RULES_MAX {
        let path = policy.at("rules");
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for rule in policy.maps("rules") {
        validate_rule(errors, spec, &rule);
    }
}

fn validate_rule(errors: &mut FieldErrors, spec: &View<'_>, rule: &View<'_>) {
    let action = rule.text("action");
    if rule.required(errors, "action") {
        if !ACTIONS.contains(&action) {
            let path = rule.at("action");
            errors.push(FieldError::not_supported(&path, action, &ACTIONS));
        } else if action == "FailIndex" && !spec.has("backoffLimitPerIndex") {
            let why = "requires the backoffLimitPerIndex to be set";
            rule.invalid(errors, "action", why);
        }
    }
    let (codes, patterns) = (rule.map("onExitCodes"), rule.list("onPodConditions"));
    if codes.is_some() && !patterns.is_empty() {
        let why = "specifying both OnExitCodes and OnPodConditions is not supported";
        errors.push(FieldError::invalid(&rule.path, rule.tree.clone(), why));
    }
    if codes.is_none() && patterns.is_empty() {
        let why = "specifying one of OnExitCodes and OnPodConditions is required";
        errors.push(FieldError::invalid(&rule.path, rule.tree.clone(), why));
    }
    if let Some(codes) = codes {
        validate_codes(errors, &codes);
    }
    if patterns.len() > PATTERNS_MAX {
        let path = rule.at("onPodConditions");
        errors.push(FieldError::too_many(&path, patterns.len(), PATTERNS_MAX));
    }
    for pattern in rule.maps("onPodConditions") {
        pattern.required(errors, "type");
        pattern.required_one_of(errors, "status", &["False", "True", "Unknown"]);
    }
}

fn validate_codes(errors: &mut FieldErrors, codes: &View<'_>) {
    let operator = codes.text("operator");
    codes.required_one_of(errors, "operator", &["In", "NotIn"]);
    let values = codes.list("values");
    let path = codes.at("values");
    if values.is_empty() {
        codes.invalid(errors, "values", "at least one value is required");
    } else if values.len() > CODES_MAX {
        errors.push(FieldError::too_many(&path, values.len(), CODES_MAX));
    }
    let mut last = None;
    let mut is_ordered = true;
    for (index, value) in values.iter().enumerate() {
        let code = value.as_i64().unwrap_or_default();
        let at = path.index(index);
        if operator == "In" && code == 0 {
            let why = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(&at, code, why));
        }
        if last == Some(code) {
            errors.push(FieldError::duplicate(&at, code));
        } else if last.is_some_and(|last| last > code) {
            is_ordered = false;
        }
        last = Some(code);
    }
    if !is_ordered {
        codes.invalid(errors, "values", "must be ordered");
    }
}

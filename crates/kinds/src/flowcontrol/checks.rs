//! Validation of priority and fairness, with upstream's texts.

use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::view::View;

/// Bounds of upstream's queues.
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Names that only the server's own objects have.
const EXEMPT: &str = "exempt";

/// What a flow schema must be.
pub(crate) fn flow_schema(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = View::of(object, "metadata").text("name");
    let spec = View::of(object, "spec");
    let precedence = spec.number("matchingPrecedence").unwrap_or_default();
    if precedence <= 0 {
        let why = "must be a positive value";
        spec.invalid(&mut errors, "matchingPrecedence", why);
    }
    if precedence > PRECEDENCE_MAX {
        let why = format!("must not be greater than {PRECEDENCE_MAX}");
        spec.invalid(&mut errors, "matchingPrecedence", why);
    }
    if precedence == 1 && name != EXEMPT {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        spec.invalid(&mut errors, "matchingPrecedence", why);
    }
    if let Some(method) = spec.map("distinguisherMethod") {
        method.one_of(&mut errors, "type", &["ByNamespace", "ByUser"]);
    }
    let level = spec.inner("priorityLevelConfiguration");
    level.required(&mut errors, "name");
    for rule in spec.maps("rules") {
        subjects(&mut errors, &rule);
        if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
            let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(FieldError::required(&rule.path, why));
        }
        for resource in rule.maps("resourceRules") {
            let wanted = [
                ("verbs", "verbs must contain at least one value"),
                (
                    "apiGroups",
                    "resource rules must supply at least one api group",
                ),
                (
                    "resources",
                    "resource rules must supply at least one resource",
                ),
            ];
            filled(&mut errors, &resource, &wanted);
            let is_cluster = resource.is_true("clusterScope");
            if resource.list("namespaces").is_empty() && !is_cluster {
                let why =
                    "resource rules that are not cluster scoped must supply at least one namespace";
                errors.push(FieldError::required(&resource.at("namespaces"), why));
            }
        }
        for path in rule.maps("nonResourceRules") {
            let wanted = [
                ("verbs", "verbs must contain at least one value"),
                (
                    "nonResourceURLs",
                    "nonResourceURLs must contain at least one value",
                ),
            ];
            filled(&mut errors, &path, &wanted);
        }
    }
    errors
}

fn filled(errors: &mut FieldErrors, rule: &View<'_>, wanted: &[(&str, &str)]) {
    for (field, why) in wanted {
        let all = rule.list(field);
        if all.is_empty() {
            errors.push(FieldError::required(&rule.at(field), *why));
        } else if all.len() > 1 && all.iter().any(|one| one == "*") {
            let why = format!("if '*' is present, must not specify other {field}");
            rule.invalid(errors, field, why);
        }
    }
}

fn subjects(errors: &mut FieldErrors, rule: &View<'_>) {
    if rule.list("subjects").is_empty() {
        let why = "subjects must contain at least one value";
        errors.push(FieldError::required(&rule.at("subjects"), why));
    }
    let kinds = [
        ("Group", "group", &["name"][..]),
        (
            "ServiceAccount",
            "serviceAccount",
            &["namespace", "name"][..],
        ),
        ("User", "user", &["name"][..]),
    ];
    for subject in rule.maps("subjects") {
        let kind = subject.text("kind");
        let known = kinds.iter().find(|(name, _, _)| *name == kind);
        let Some((name, field, required)) = known else {
            let names = kinds.map(|(name, _, _)| name);
            errors.push(FieldError::not_supported(&subject.at("kind"), kind, &names));
            continue;
        };
        match subject.map(field) {
            Some(inner) => {
                for field in *required {
                    inner.required(errors, field);
                }
            }
            None => {
                let why = format!("{field} is required when subject kind is '{name}'");
                errors.push(FieldError::required(&subject.at(field), why));
            }
        }
        for (_, other, _) in kinds.iter().filter(|(other, _, _)| other != name) {
            let why = format!("{other} is forbidden when subject kind is not '{}'", {
                let owner = kinds.iter().find(|(_, field, _)| field == other);
                owner.map_or("", |(name, _, _)| name)
            });
            subject.forbid(errors, other, &why);
        }
    }
}

/// What a priority level must be.
pub(crate) fn priority_level(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = View::of(object, "metadata").text("name");
    let spec = View::of(object, "spec");
    let kind = spec.text("type");
    if (kind == "Exempt") != (name == EXEMPT) && matches!(kind, "Exempt" | "Limited") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        spec.invalid(&mut errors, "type", why);
    }
    match kind {
        "Exempt" => {
            let why = "must be nil if the type is not Limited";
            spec.forbid(&mut errors, "limited", why);
            if let Some(exempt) = spec.map("exempt") {
                shares(&mut errors, &exempt, 0);
            }
        }
        "Limited" => {
            spec.forbid(&mut errors, "exempt", "must be nil if the type is Limited");
            match spec.map("limited") {
                Some(limited) => limits(&mut errors, &limited),
                None => {
                    let why = "must not be empty when type is Limited";
                    errors.push(FieldError::required(&spec.at("limited"), why));
                }
            }
        }
        _ => {
            let kinds = ["Exempt", "Limited"];
            errors.push(FieldError::not_supported(&spec.at("type"), kind, &kinds));
        }
    }
    errors
}

fn shares(errors: &mut FieldErrors, level: &View<'_>, least: i64) {
    let field = "nominalConcurrencyShares";
    if level.number(field).is_some_and(|shares| shares < least) {
        level.invalid(errors, field, "must be a non-negative integer");
    }
    let percent = level.number("lendablePercent");
    if percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
        level.invalid(
            errors,
            "lendablePercent",
            "must be between 0 and 100, inclusive",
        );
    }
    if level
        .number("borrowingLimitPercent")
        .is_some_and(|percent| percent < 0)
    {
        let why = "if specified, must be a non-negative integer";
        level.invalid(errors, "borrowingLimitPercent", why);
    }
}

fn limits(errors: &mut FieldErrors, limited: &View<'_>) {
    shares(errors, limited, 0);
    let response = limited.inner("limitResponse");
    match response.text("type") {
        "Reject" => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            response.forbid(errors, "queuing", why);
        }
        "Queue" => match response.map("queuing") {
            Some(queuing) => queues(errors, &queuing),
            None => {
                let why = "must not be empty if limited.limitResponse.type is Limited";
                errors.push(FieldError::required(&response.at("queuing"), why));
            }
        },
        other => {
            let kinds = ["Queue", "Reject"];
            let path = response.at("type");
            errors.push(FieldError::not_supported(&path, other, &kinds));
        }
    }
}

fn queues(errors: &mut FieldErrors, queuing: &View<'_>) {
    let of = |field| queuing.number(field).unwrap_or_default();
    let (queues, hand) = (of("queues"), of("handSize"));
    for field in ["queueLengthLimit", "queues"] {
        if of(field) <= 0 {
            queuing.invalid(errors, field, "must be positive");
        }
    }
    if queues > QUEUES_MAX {
        let why = format!("must not be greater than {QUEUES_MAX}");
        queuing.invalid(errors, "queues", why);
    }
    if hand <= 0 {
        queuing.invalid(errors, "handSize", "must be positive");
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        queuing.invalid(errors, "handSize", why);
    } else if entropy_bits(queues, hand) > 60.0 {
        let why =
            "required entropy bits of deckSize {} and handSize {} should not be greater than 60"
                .replacen("{}", &queues.to_string(), 1)
                .replacen("{}", &hand.to_string(), 1);
        queuing.invalid(errors, "handSize", why);
    }
}

/// How many bits a draw of `hand` of `queues` cards takes.
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    let card = |drawn: i64| {
        #[expect(clippy::cast_precision_loss, reason = "at most ten million")]
        let left = (queues - drawn) as f64;
        left.log2()
    };
    (0..hand).map(card).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(check: fn(&Tree) -> FieldErrors, object: serde_json::Value) -> Vec<String> {
        let found = check(object.as_object().expect("a map"));
        found.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_hand_fits_its_queues_and_its_entropy() {
        let level = |queues: i64, hand: i64| {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {
                "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 1},
            }}}})
        };
        let path = "spec.limited.limitResponse.queuing.handSize";
        assert!(errors(priority_level, level(64, 8)).is_empty());
        assert_eq!(errors(priority_level, level(4, 8)), [path]);
        assert_eq!(errors(priority_level, level(512, 8)), [path]);
        assert_eq!(errors(priority_level, level(4, 0)), [path]);
    }

    #[test]
    fn a_subject_has_what_its_kind_asks_for() {
        let schema = |subject: serde_json::Value| {
            json!({"spec": {
                "matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "x"},
                "rules": [{"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}],
            }})
        };
        let good = json!({"kind": "User", "user": {"name": "u"}});
        assert!(errors(flow_schema, schema(good)).is_empty());
        let empty = json!({"kind": "User"});
        assert_eq!(
            errors(flow_schema, schema(empty)),
            ["spec.rules[0].subjects[0].user"]
        );
        let both = json!({"kind": "User", "user": {"name": "u"}, "group": {"name": "g"}});
        assert_eq!(
            errors(flow_schema, schema(both)),
            ["spec.rules[0].subjects[0].group"]
        );
    }
}

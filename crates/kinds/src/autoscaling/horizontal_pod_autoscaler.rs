//! `autoscaling/v2` `HorizontalPodAutoscaler`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, list, make, map, map_mut, number, number_at, text, text_at};
use crate::view::View;
use crate::{Kind, Subresource};
use kontiki_object::Value;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("HorizontalPodAutoscaler")],
        defaults,
        strategy: Rules {
            validate,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Reference",
            "string",
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
            |o, _| {
                let target = |field| text_at(o, &["spec", "scaleTargetRef", field]);
                format!("{}/{}", target("kind"), target("name")).into()
            },
        ),
        Column::new(
            "Targets",
            "string",
            "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
            |o, _| cells::metric_targets(o),
        ),
        Column::new(
            "MinPods",
            "string",
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
            |o, _| {
                at(o, &["spec", "minReplicas"])
                    .map_or_else(|| "<unset>".into(), |least| least.to_string().into())
            },
        ),
        Column::new(
            "MaxPods",
            "string",
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
            |o, _| number_at(o, &["spec", "maxReplicas"]).into(),
        ),
        Column::new(
            "Replicas",
            "string",
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
            |o, _| number_at(o, &["status", "currentReplicas"]).into(),
        ),
        Column::age(),
    ]
}

/// Defaults; the older version uses them once it is converted.
pub(crate) fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "minReplicas", 1);
    if list(spec, "metrics").is_empty() {
        let cpu = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]);
        spec.insert("metrics".into(), cpu);
    }
    if let Some(behavior) = map_mut(spec, "behavior") {
        let up = json!({
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ],
        });
        let down = json!({
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        });
        for (field, rules) in [("scaleUp", up), ("scaleDown", down)] {
            let given = make(behavior, field);
            for (name, value) in rules.as_object().into_iter().flatten() {
                if given.get(name).is_none_or(Value::is_null) {
                    given.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let target = map(spec, "scaleTargetRef").unwrap_or(&empty);
    let at = path.child("scaleTargetRef");
    check::required(&mut errors, target, "kind", &at);
    check::required(&mut errors, target, "name", &at);
    let api_version = text(target, "apiVersion");
    let (group, _) = api_version.split_once('/').unwrap_or_default();
    if group.is_empty() && (text(target, "kind") != "ReplicationController") {
        let why = "apiVersion must specify API group";
        errors.push(FieldError::invalid(
            &at.child("apiVersion"),
            api_version,
            why,
        ));
    }
    let (least, most) = (
        number(spec, "minReplicas").unwrap_or(1),
        number(spec, "maxReplicas").unwrap_or_default(),
    );
    if least < 1 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(&path.child("minReplicas"), least, why));
    }
    if most < 1 {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), most, why));
    } else if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), most, why));
    }
    let spec = View::of(object, "spec");
    for metric in spec.maps("metrics") {
        validate_metric(&mut errors, &metric);
    }
    let behavior = spec.inner("behavior");
    for side in ["scaleUp", "scaleDown"] {
        if let Some(rules) = behavior.map(side) {
            validate_scaling(&mut errors, &rules);
        }
    }
    errors
}

/// The kinds of metrics and the fields that describe them.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn validate_metric(errors: &mut FieldErrors, metric: &View<'_>) {
    let kind = metric.text("type");
    if !metric.required(errors, "type") {
        return;
    }
    let known = METRICS.iter().find(|(name, _)| *name == kind);
    let Some((_, wanted)) = known else {
        let names = METRICS.map(|(name, _)| name);
        // Upstream tells it as a cause twice.
        let error = FieldError::not_supported(&metric.at("type"), kind, &names);
        errors.extend([error.clone(), error]);
        return;
    };
    for (_, field) in METRICS {
        if field == *wanted {
            continue;
        }
        let why = "must populate the given metric source only";
        metric.forbid(errors, field, why);
    }
    if !metric.has(wanted) {
        let why = "must populate information for the given metric source";
        errors.push(FieldError::required(&metric.at(wanted), why));
        return;
    }
    let source = metric.inner(wanted);
    match kind {
        "Resource" => {
            source.required(errors, "name");
        }
        "ContainerResource" => {
            source.required(errors, "name");
            source.required(errors, "container");
        }
        _ => {
            source.inner("metric").required(errors, "name");
        }
    }
    validate_target(errors, &source.inner("target"), kind);
}

fn validate_target(errors: &mut FieldErrors, target: &View<'_>, kind: &str) {
    let kinds = ["AverageValue", "Utilization", "Value"];
    target.required_one_of(errors, "type", &kinds);
    let share = target.number("averageUtilization");
    if share.is_some_and(|share| share < 1) {
        target.invalid(errors, "averageUtilization", "must be greater than 0");
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = target.quantity(field)
            && (amount.is_zero() || amount.is_negative())
        {
            target.invalid(errors, field, "must be positive");
        }
    }
    let has = |field| target.has(field);
    let missing = match kind {
        "Pods" => (!has("averageValue")).then_some((
            "averageValue",
            "must specify a positive target averageValue",
        )),
        "Resource" | "ContainerResource" => (!has("averageUtilization") && !has("averageValue"))
            .then_some((
                "averageUtilization",
                "must set either a target raw value or a target utilization",
            )),
        _ => (!has("value") && !has("averageValue")).then_some((
            "averageValue",
            "must set either a target value or averageValue",
        )),
    };
    if let Some((field, why)) = missing {
        errors.push(FieldError::required(&target.at(field), why));
    }
}

/// How long a recommendation may be waited for, and a policy may look back.
const WINDOW_MAX_SECONDS: i64 = 3600;
const PERIOD_MAX_SECONDS: i64 = 1800;

fn validate_scaling(errors: &mut FieldErrors, rules: &View<'_>) {
    if let Some(window) = rules.number("stabilizationWindowSeconds") {
        let why = match window {
            i64::MIN..0 => Some("must be greater than or equal to zero".to_owned()),
            0..=WINDOW_MAX_SECONDS => None,
            _ => Some(format!(
                "must be less than or equal to {WINDOW_MAX_SECONDS}"
            )),
        };
        if let Some(why) = why {
            rules.invalid(errors, "stabilizationWindowSeconds", why);
        }
    }
    rules.one_of(errors, "selectPolicy", &["Disabled", "Max", "Min"]);
    if rules.list("policies").is_empty() {
        let why = "must specify at least one Policy";
        errors.push(FieldError::required(&rules.at("policies"), why));
    }
    for policy in rules.maps("policies") {
        policy.one_of(errors, "type", &["Percent", "Pods"]);
        if policy.number("value").unwrap_or_default() <= 0 {
            policy.invalid(errors, "value", "must be greater than zero");
        }
        let period = policy.number("periodSeconds").unwrap_or_default();
        if period <= 0 {
            policy.invalid(errors, "periodSeconds", "must be greater than zero");
        } else if period > PERIOD_MAX_SECONDS {
            let why = format!("must be less than or equal to {PERIOD_MAX_SECONDS}");
            policy.invalid(errors, "periodSeconds", why);
        }
    }
}

//! `autoscaling/v2` `HorizontalPodAutoscaler`.

use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, list, make, map, map_mut, number};
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
        ..Kind::namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
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
    errors
}

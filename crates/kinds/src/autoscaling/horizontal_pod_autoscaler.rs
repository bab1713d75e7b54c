//! `autoscaling/v2` `HorizontalPodAutoscaler`.

use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, list, make, map_mut};
use crate::{Kind, Subresource};
use kontiki_object::Value;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("HorizontalPodAutoscaler")],
        defaults,
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
}

fn defaults(object: &mut Tree) {
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

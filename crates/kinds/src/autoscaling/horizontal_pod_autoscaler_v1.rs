//! `autoscaling/v1` `HorizontalPodAutoscaler`.

use crate::Tree;
use crate::go_form;
use crate::kind::Conversion;
use crate::kind::texts;
use crate::tree::{default, make, map_mut};
use crate::{Kind, Storage, Subresource};
use kontiki_object::Value;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        storage: Some(Storage::new(
            "/registry/horizontalpodautoscalers".into(),
            "autoscaling/v2".into(),
        )),
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("HorizontalPodAutoscaler")],
        defaults,
        conversion: Some(Conversion {
            to_stored,
            from_stored,
        }),
        columns: super::horizontal_pod_autoscaler::kind().columns,
        strategy: super::horizontal_pod_autoscaler::kind().strategy,
        ..Kind::namespaced(
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
}

const OTHER_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const BEHAVIOR_TYPE: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior";

fn defaults(object: &mut Tree) {
    default(make(object, "spec"), "minReplicas", 1);
}

fn is_cpu_share(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && metric["resource"]["target"]["type"] == "Utilization"
}

/// Takes JSON out of an annotation.
fn take_annotation(object: &mut Tree, key: &str) -> Option<Value> {
    let meta = map_mut(object, "metadata")?;
    let annotations = map_mut(meta, "annotations")?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// From the server's own form, with Go's names of fields, to the API's.
fn as_api(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            let renamed = members.map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect(), as_api(value))
            });
            Value::Object(renamed.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(as_api).collect()),
        other => other,
    }
}

fn put_annotation(object: &mut Tree, key: &str, value: &Value) {
    make(make(object, "metadata"), "annotations").insert(key.to_owned(), value.to_string().into());
}

/// What this version has no fields for travels in annotations.
fn to_stored(object: &mut Tree) {
    object.insert("apiVersion".into(), "autoscaling/v2".into());
    let others = take_annotation(object, OTHER_METRICS);
    let behavior = take_annotation(object, BEHAVIOR).map(as_api);
    let spec = make(object, "spec");
    let mut metrics = Vec::new();
    if let Some(share) = spec.remove("targetCPUUtilizationPercentage") {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": share}}}));
    }
    if let Some(Value::Array(others)) = others {
        metrics.extend(others);
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), metrics.into());
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    super::horizontal_pod_autoscaler::defaults(object);
    if let Some(status) = map_mut(object, "status")
        && let Some(share) = status.remove("currentCPUUtilizationPercentage")
    {
        let current = json!([{"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": share}}}]);
        status.insert("currentMetrics".into(), current);
    }
}

fn from_stored(object: &mut Tree) {
    object.insert("apiVersion".into(), "autoscaling/v1".into());
    let spec = make(object, "spec");
    let behavior = spec.remove("behavior");
    if let Some(Value::Array(metrics)) = spec.remove("metrics") {
        let (cpu, mut others): (Vec<Value>, Vec<Value>) =
            metrics.into_iter().partition(is_cpu_share);
        let mut cpu = cpu.into_iter();
        if let Some(first) = cpu.next() {
            let share = first["resource"]["target"]["averageUtilization"].clone();
            spec.insert("targetCPUUtilizationPercentage".into(), share);
        }
        others.extend(cpu);
        if !others.is_empty() {
            put_annotation(object, OTHER_METRICS, &others.into());
        }
    }
    if let Some(Value::Object(behavior)) = behavior {
        let shown = go_form::shown(BEHAVIOR_TYPE, &behavior);
        make(make(object, "metadata"), "annotations").insert(BEHAVIOR.into(), shown.into());
    }
    let status = make(object, "status");
    for field in ["currentReplicas", "desiredReplicas"] {
        default(status, field, 0);
    }
    status.remove("conditions");
    if let Some(Value::Array(metrics)) = status.remove("currentMetrics") {
        let share = metrics
            .iter()
            .find(|metric| metric["resource"]["name"] == "cpu")
            .map(|metric| metric["resource"]["current"]["averageUtilization"].clone());
        if let Some(share) = share.filter(|share| !share.is_null()) {
            status.insert("currentCPUUtilizationPercentage".into(), share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_versions_say_the_same() {
        let old = json!({"apiVersion": "autoscaling/v1", "spec": {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 60}});
        let mut object = old.as_object().expect("a map").clone();
        to_stored(&mut object);
        assert_eq!(
            object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            60
        );
        let metric = json!({"type": "Pods", "pods": {"metric": {"name": "q"}}});
        object["spec"]["metrics"]
            .as_array_mut()
            .expect("a list")
            .push(metric);
        let stored = object.clone();
        from_stored(&mut object);
        assert_eq!(object["spec"], old["spec"]);
        to_stored(&mut object);
        assert_eq!(object["spec"], stored["spec"]);
    }
}

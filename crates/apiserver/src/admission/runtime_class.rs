//! `RuntimeClass`: a pod of a runtime class has the class's overhead, and runs
//! where the class says.

use super::{Attributes, Plugin, pod};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Quantity, SharedObject, Status, Value};
use std::collections::BTreeMap;

pub(super) struct RuntimeClass;

fn spec(pod: Option<&Tree>) -> Option<&Tree> {
    pod?.get("spec")?.as_object()
}

/// The pod's class; 403 if it does not exist.
async fn class(attributes: &Attributes<'_>) -> Result<Option<SharedObject>, Status> {
    let spec = spec(attributes.object.as_deref());
    let name = spec.and_then(|spec| spec.get("runtimeClassName")?.as_str());
    let Some(name) = name.map(str::to_owned) else {
        return Ok(None);
    };
    let look = || attributes.lookup("node.k8s.io", "v1", "runtimeclasses", "", &name);
    if let Some(class) = look() {
        return Ok(Some(class));
    }
    attributes.registry.fresh().await?;
    let class = look().ok_or_else(|| {
        attributes.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))
    })?;
    Ok(Some(class))
}

/// Amounts by name, in a form that compares.
fn amounts(overhead: Option<&Value>) -> BTreeMap<String, Option<Quantity>> {
    let map = overhead.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, amount)| {
            let amount = amount.as_str().and_then(|amount| amount.parse().ok());
            (name.clone(), amount)
        })
        .collect()
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn same(a: &Value, b: &Value) -> bool {
    let without_empty = |toleration: &Value| {
        let mut map = toleration.as_object().cloned().unwrap_or_default();
        map.retain(|_, value| !value.is_null() && value != "");
        map
    };
    without_empty(a) == without_empty(b)
}

/// Whether one toleration tolerates all that another does.
fn is_superset(wide: &Value, narrow: &Value) -> bool {
    let text =
        |toleration: &Value, field: &str| toleration[field].as_str().unwrap_or_default().to_owned();
    if same(wide, narrow) {
        return true;
    }
    let (key, operator, effect) = (
        text(wide, "key"),
        text(wide, "operator"),
        text(wide, "effect"),
    );
    if text(narrow, "key") != key && (!key.is_empty() || operator != "Exists") {
        return false;
    }
    if text(narrow, "effect") != effect && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(limit) = wide["tolerationSeconds"].as_i64()
        && narrow["tolerationSeconds"]
            .as_i64()
            .is_none_or(|own| own > limit)
    {
        return false;
    }
    match &*operator {
        "Equal" | "" => {
            text(narrow, "operator") == "Equal" && text(narrow, "value") == text(wide, "value")
        }
        operator => operator == "Exists",
    }
}

/// Both lists, without what others make needless.
fn merged(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (at, toleration) in all.iter().enumerate() {
        let later = &all[at + 1..];
        let is_needless = merged.iter().any(|wide| is_superset(wide, toleration))
            || later
                .iter()
                .any(|wide| !same(wide, toleration) && is_superset(wide, toleration));
        if !is_needless {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Selects the nodes that the class runs on.
fn schedule(spec: &mut Tree, scheduling: &Value) -> Result<(), String> {
    let wanted = scheduling["nodeSelector"].as_object();
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        let own = spec
            .entry("nodeSelector")
            .or_insert_with(|| Value::Object(Tree::new()));
        if own.is_null() {
            *own = Value::Object(Tree::new());
        }
        for (key, value) in wanted {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match own.get(key) {
                Some(own) if own != value => {
                    return Err(format!(
                        "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                        text(value),
                        text(own)
                    ));
                }
                _ => own[key] = value.clone(),
            }
        }
    }
    let of = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let own = of(spec.get("tolerations"));
    let all = merged(&own, &of(scheduling.get("tolerations")));
    if !all.is_empty() {
        spec.insert("tolerations".to_owned(), all.into());
    }
    Ok(())
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let Some(class) = class(attributes).await? else {
            return Ok(());
        };
        let overhead = class
            .get(&["overhead"])
            .filter(|overhead| overhead.is_object());
        if let Some(overhead) = overhead {
            let own = spec(attributes.object.as_deref()).and_then(|spec| spec.get("overhead"));
            let (own, wanted) = (amounts(own), amounts(overhead.get("podFixed")));
            if !own.is_empty() && own != wanted {
                return Err(attributes.forbidden(MISMATCH));
            }
            let fixed = overhead.get("podFixed").cloned();
            if let (Some(spec), Some(fixed)) = (pod::spec(attributes), fixed) {
                spec.insert("overhead".to_owned(), fixed);
            }
        }
        let scheduling = class.get(&["scheduling"]).filter(|value| value.is_object());
        let Some(scheduling) = scheduling else {
            return Ok(());
        };
        let outcome = match pod::spec(attributes) {
            Some(spec) => schedule(spec, scheduling),
            None => Ok(()),
        };
        outcome.map_err(|why| attributes.forbidden(&why))
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let class = class(attributes).await?;
        let own = spec(attributes.object.as_deref()).and_then(|spec| spec.get("overhead"));
        let defined = class.as_ref().and_then(|class| class.get(&["overhead"]));
        match defined.filter(|overhead| overhead.is_object()) {
            Some(overhead) if amounts(own) != amounts(overhead.get("podFixed")) => {
                Err(attributes.forbidden(MISMATCH))
            }
            None if own.is_some_and(|own| !own.is_null()) => Err(attributes.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merged_tolerations_hold_nothing_needless() {
        let exists = |key: &str| json!({"key": key, "operator": "Exists"});
        let equal =
            |key: &str, value: &str| json!({"key": key, "operator": "Equal", "value": value});
        for (first, second, wanted) in [
            (
                vec![exists("a")],
                vec![exists("b")],
                vec![exists("a"), exists("b")],
            ),
            (vec![exists("a")], vec![equal("a", "x")], vec![exists("a")]),
            (vec![equal("a", "x")], vec![exists("a")], vec![exists("a")]),
            (
                vec![equal("a", "x")],
                vec![equal("a", "x")],
                vec![equal("a", "x")],
            ),
            (
                vec![equal("a", "x")],
                vec![json!({"operator": "Exists"})],
                vec![json!({"operator": "Exists"})],
            ),
        ] {
            assert_eq!(merged(&first, &second), wanted, "{first:?} {second:?}");
        }
    }
}

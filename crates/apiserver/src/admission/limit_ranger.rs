//! `LimitRanger`: fills in the requests and limits that a namespace's limit
//! ranges give to containers, and refuses pods beyond them.

use super::{Attributes, Plugin, pod};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Quantity, SharedObject, Status, Value};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let namespace = attributes.target.namespace.clone();
        let ranges = attributes.list("", "v1", "limitranges", &namespace);
        let Some(spec) = pod::spec(attributes) else {
            return Ok(());
        };
        let mut notes = Vec::new();
        for limit in limits(&ranges, "Container") {
            for (list, word) in [
                ("containers", "container"),
                ("initContainers", "init container"),
            ] {
                for container in pod::containers(spec, list) {
                    fill(container, limit, word, &mut notes);
                }
            }
        }
        if !notes.is_empty() {
            annotate(attributes, &notes);
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let ranges = attributes.list("", "v1", "limitranges", &attributes.target.namespace);
        let Some(spec) = attributes
            .object
            .as_deref()
            .and_then(|object| object.get("spec"))
        else {
            return Ok(());
        };
        let mut problems = Vec::new();
        for limit in limits(&ranges, "Container") {
            for list in ["containers", "initContainers"] {
                for container in spec[list].as_array().into_iter().flatten() {
                    check(&container["resources"], limit, "Container", &mut problems);
                }
            }
        }
        for limit in limits(&ranges, "Pod") {
            check(&total(spec), limit, "Pod", &mut problems);
        }
        match &problems[..] {
            [] => Ok(()),
            [one] => Err(attributes.forbidden(one)),
            many => Err(attributes.forbidden(&format!("[{}]", many.join(", ")))),
        }
    }
}

fn limits<'a>(ranges: &'a [SharedObject], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges
        .iter()
        .filter_map(|range| range.get(&["spec", "limits"])?.as_array())
        .flatten()
        .filter(move |limit| limit["type"] == kind)
}

/// Fills in what a container does not say.
fn fill(container: &mut Tree, limit: &Value, word: &str, notes: &mut Vec<String>) {
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(resources) = container
        .entry("resources")
        .or_insert_with(|| Value::Object(Tree::new()))
        .as_object_mut()
    else {
        return;
    };
    for (field, source, what) in [
        ("requests", "defaultRequest", "request"),
        ("limits", "default", "limit"),
    ] {
        let Some(defaults) = limit[source].as_object() else {
            continue;
        };
        let Some(own) = resources
            .entry(field)
            .or_insert_with(|| Value::Object(Tree::new()))
            .as_object_mut()
        else {
            continue;
        };
        let mut filled = Vec::new();
        for (resource, quantity) in defaults {
            if !own.contains_key(resource) {
                own.insert(resource.clone(), quantity.clone());
                filled.push(resource.clone());
            }
        }
        if !filled.is_empty() {
            notes.push(format!("{} {what} for {word} {name}", filled.join(", ")));
        }
    }
}

fn annotate(attributes: &mut Attributes<'_>, notes: &[String]) {
    let metadata = attributes
        .object
        .as_deref_mut()
        .and_then(|object| object.get_mut("metadata"))
        .and_then(Value::as_object_mut);
    let annotations = metadata.and_then(|metadata| {
        metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(Tree::new()))
            .as_object_mut()
    });
    if let Some(annotations) = annotations {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        annotations.insert(ANNOTATION.to_owned(), text.into());
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// The sums of a pod's containers.
fn total(spec: &Value) -> Value {
    let mut sums = Value::Object(Tree::new());
    for field in ["requests", "limits"] {
        let mut milli = std::collections::BTreeMap::<String, i64>::new();
        for container in spec["containers"].as_array().into_iter().flatten() {
            for (name, value) in container["resources"][field]
                .as_object()
                .into_iter()
                .flatten()
            {
                if let Some(quantity) = quantity(value) {
                    let sum = milli.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(quantity.milli());
                }
            }
        }
        let texts = milli
            .into_iter()
            .map(|(name, sum)| (name, Value::from(Quantity::from_milli(sum).to_string())));
        sums[field] = Value::Object(texts.collect());
    }
    sums
}

fn check(resources: &Value, limit: &Value, kind: &str, problems: &mut Vec<String>) {
    for (name, minimum) in limit["min"].as_object().into_iter().flatten() {
        let own = quantity(&resources["requests"][name]);
        let Some(bound) = quantity(minimum) else {
            continue;
        };
        match own {
            None => problems.push(format!(
                "minimum {name} usage per {kind} is {bound}.  No request is specified"
            )),
            Some(own) if own.milli() < bound.milli() => problems.push(format!(
                "minimum {name} usage per {kind} is {bound}, but request is {own}"
            )),
            Some(_) => {}
        }
    }
    for (name, maximum) in limit["max"].as_object().into_iter().flatten() {
        let own = quantity(&resources["limits"][name]);
        let Some(bound) = quantity(maximum) else {
            continue;
        };
        match own {
            None => problems.push(format!(
                "maximum {name} usage per {kind} is {bound}.  No limit is specified"
            )),
            Some(own) if own.milli() > bound.milli() => problems.push(format!(
                "maximum {name} usage per {kind} is {bound}, but limit is {own}"
            )),
            Some(_) => {}
        }
    }
}

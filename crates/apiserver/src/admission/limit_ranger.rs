//! `LimitRanger`: fills in the requests and limits that a namespace's limit
//! ranges give to containers, and refuses pods beyond them.

use super::{Attributes, Operation, Plugin, pod};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Quantity, SharedObject, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;

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
        let is_update = attributes.operation == Operation::Update;
        let is_claim = attributes.is_for("", "persistentvolumeclaims")
            && (is_update || attributes.operation == Operation::Create);
        if !is_claim && !pod::is_creation(attributes) {
            return Ok(());
        }
        let ranges = attributes.list("", "v1", "limitranges", &attributes.target.namespace);
        let spec = attributes
            .object
            .as_deref()
            .and_then(|object| object.get("spec"));
        let Some(spec) = spec.filter(|_| !ranges.is_empty()) else {
            return Ok(());
        };
        let mut problems = Vec::new();
        if is_claim {
            for limit in limits(&ranges, CLAIM) {
                check_claim(&spec["resources"]["requests"], limit, &mut problems);
            }
        } else {
            check_pod(spec, &ranges, &mut problems);
        }
        match &problems[..] {
            [] => Ok(()),
            [one] => Err(attributes.forbidden(one)),
            many => Err(attributes.forbidden(&format!("[{}]", many.join(", ")))),
        }
    }
}

const CLAIM: &str = "PersistentVolumeClaim";

fn check_pod(spec: &Value, ranges: &[SharedObject], problems: &mut Vec<String>) {
    for limit in limits(ranges, "Container") {
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array().into_iter().flatten() {
                check(&container["resources"], limit, "Container", problems);
            }
        }
    }
    for limit in limits(ranges, "Pod") {
        check(&total(spec), limit, "Pod", problems);
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

type Amounts = BTreeMap<String, Quantity>;

fn amounts(container: &Value, field: &str) -> Amounts {
    let all = container["resources"][field].as_object();
    all.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

/// What the containers of a pod ask for together, of what each of them names;
/// one that runs before them counts if it asks for more.
fn sum(spec: &Value, field: &str) -> Amounts {
    let of = |list: &str| -> Vec<(bool, Amounts)> {
        let all = spec[list].as_array();
        all.into_iter()
            .flatten()
            .map(|one| (one["restartPolicy"] == "Always", amounts(one, field)))
            .collect()
    };
    let first = of("initContainers");
    let lasting = first.iter().filter(|(lasts, _)| *lasts);
    let together: Vec<Amounts> = of("containers")
        .into_iter()
        .chain(lasting.cloned())
        .map(|(_, amounts)| amounts)
        .collect();
    let mut sum = Amounts::new();
    for name in together.first().into_iter().flat_map(BTreeMap::keys) {
        let each: Option<Vec<Quantity>> =
            together.iter().map(|one| one.get(name).copied()).collect();
        let total = each.and_then(|each| each.into_iter().reduce(|sum, one| sum + one));
        sum.extend(total.map(|total| (name.clone(), total)));
    }
    for (_, amounts) in first.into_iter().filter(|(lasts, _)| !lasts) {
        for (name, amount) in amounts {
            let largest = sum.entry(name).or_insert(amount);
            *largest = amount.max(*largest);
        }
    }
    sum
}

fn total(spec: &Value) -> Value {
    let side = |field: &str| -> Value {
        let texts = sum(spec, field).into_iter();
        Value::Object(
            texts
                .map(|(name, sum)| (name, sum.to_string().into()))
                .collect(),
        )
    };
    json!({"requests": side("requests"), "limits": side("limits")})
}

fn check(resources: &Value, limit: &Value, kind: &str, problems: &mut Vec<String>) {
    let of = |side: &str, name: &str| quantity(&resources[side][name]);
    for (name, bound) in bounds(limit, "min") {
        let say = |what: String| format!("minimum {name} usage per {kind} is {bound}{what}");
        match (of("requests", name), of("limits", name)) {
            (None, _) => problems.push(say(".  No request is specified".to_owned())),
            (Some(own), _) if own < bound => {
                problems.push(say(format!(", but request is {own}")));
            }
            (_, Some(own)) if own < bound => problems.push(say(format!(", but limit is {own}"))),
            _ => {}
        }
    }
    for (name, bound) in bounds(limit, "max") {
        let say = |what: String| format!("maximum {name} usage per {kind} is {bound}{what}");
        match (of("requests", name), of("limits", name)) {
            (_, None) => problems.push(say(".  No limit is specified".to_owned())),
            (_, Some(own)) if own > bound => problems.push(say(format!(", but limit is {own}"))),
            (Some(own), _) if own > bound => {
                problems.push(say(format!(", but request is {own}")));
            }
            _ => {}
        }
    }
    for (name, bound) in bounds(limit, "maxLimitRequestRatio") {
        let say = |what: String| {
            format!("{name} max limit to request ratio per {kind} is {bound}, but {what}")
        };
        let given = |side: &str| of(side, name).filter(|amount| !amount.is_zero());
        match (given("requests"), given("limits")) {
            (None, _) => problems.push(say("no request is specified or request is 0".to_owned())),
            (_, None) => problems.push(say("no limit is specified or limit is 0".to_owned())),
            (Some(request), Some(limit)) => {
                #[expect(clippy::cast_precision_loss, reason = "a ratio for comparison")]
                let float = |amount: Quantity| amount.milli() as f64;
                let ratio = float(limit) / float(request);
                if ratio * 1000.0 > float(bound) {
                    problems.push(say(format!("provided ratio is {ratio:.6}")));
                }
            }
        }
    }
}

fn bounds<'a>(limit: &'a Value, side: &str) -> impl Iterator<Item = (&'a String, Quantity)> {
    let all = limit[side].as_object().into_iter().flatten();
    all.filter_map(|(name, bound)| Some((name, quantity(bound)?)))
}

/// Claims only ask: their limits do not count.
fn check_claim(requests: &Value, limit: &Value, problems: &mut Vec<String>) {
    for (side, word) in [("min", "minimum"), ("max", "maximum")] {
        for (name, bound) in bounds(limit, side) {
            let text = format!("{word} {name} usage per {CLAIM} is {bound}");
            match quantity(&requests[name]) {
                None => problems.push(format!("{text}.  No request is specified")),
                Some(own) if (side == "min" && own < bound) || (side == "max" && own > bound) => {
                    problems.push(format!("{text}, but request is {own}"));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(resources: Value, limit: Value) -> Vec<String> {
        let mut problems = Vec::new();
        check(&resources, &limit, "Container", &mut problems);
        problems
    }

    #[test]
    fn amounts_beyond_the_bounds_are_told() {
        let limit = json!({
            "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"},
        });
        let of = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        for (resources, wanted) in [
            (of("500m", "1"), None),
            (
                of("50m", "50m"),
                Some("minimum cpu usage per Container is 100m, but request is 50m"),
            ),
            (
                of("1", "2"),
                Some("maximum cpu usage per Container is 1, but limit is 2"),
            ),
            (
                of("200m", "800m"),
                Some(
                    "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
                ),
            ),
        ] {
            let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
            assert_eq!(problems(resources, limit.clone()), wanted);
        }
        assert_eq!(problems(json!({}), limit).len(), 3);
    }

    #[test]
    fn a_pod_asks_for_the_sum_of_what_all_of_its_containers_name() {
        let one = |requests: Value| json!({"resources": {"requests": requests}});
        let spec = json!({
            "containers": [one(json!({"cpu": "1", "memory": "60Mi"})), one(json!({"memory": "60Mi"}))],
            "initContainers": [one(json!({"cpu": "3"}))],
        });
        let sums: Vec<(String, String)> = sum(&spec, "requests")
            .into_iter()
            .map(|(name, sum)| (name, sum.to_string()))
            .collect();
        let wanted = [("cpu", "3"), ("memory", "120Mi")];
        assert_eq!(sums, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}

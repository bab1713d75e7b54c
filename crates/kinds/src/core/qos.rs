//! The quality of service that a pod's requests and limits amount to.

use crate::Tree;
use crate::tree::{map, map_at, maps};
use kontiki_object::Quantity;
use std::collections::BTreeMap;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(pod: &Tree) -> &'static str {
    let Some(spec) = map(pod, "spec") else {
        return "BestEffort";
    };
    let whole = map(spec, "resources").filter(|resources| {
        ["requests", "limits"]
            .iter()
            .any(|field| map(resources, field).is_some_and(|list| !list.is_empty()))
    });
    let parts: Vec<&Tree> = match whole {
        Some(resources) => vec![resources],
        None => ["containers", "initContainers"]
            .iter()
            .flat_map(|field| maps(spec, field))
            .map(|container| map_at(container, &["resources"]).unwrap_or(&EMPTY))
            .collect(),
    };
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut every_part_limited = true;
    for part in &parts {
        add(part, "requests", &mut requests);
        let limited = add(part, "limits", &mut limits);
        every_part_limited &= limited == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal = requests.len() == limits.len()
        && requests
            .iter()
            .all(|(name, request)| limits.get(name) == Some(request));
    if every_part_limited && equal {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

static EMPTY: std::sync::LazyLock<Tree> = std::sync::LazyLock::new(Tree::new);

/// Adds up what counts and answers how many resources were set.
fn add<'a>(part: &'a Tree, field: &str, sum: &mut BTreeMap<&'a str, Quantity>) -> usize {
    let mut count = 0;
    for (name, value) in map(part, field).into_iter().flatten() {
        let quantity = value
            .as_str()
            .and_then(|text| text.parse::<Quantity>().ok());
        let Some(quantity) = quantity.or_else(|| value.as_i64().map(Quantity::from_units)) else {
            continue;
        };
        if matches!(name.as_str(), "cpu" | "memory") && !quantity.is_zero() {
            *sum.entry(name).or_default() += quantity;
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_object::Value;
    use serde_json::json;

    #[test]
    fn requests_and_limits_decide_the_class() {
        let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        for (containers, class_name) in [
            (vec![json!({})], "BestEffort"),
            (vec![json!({"requests": {"cpu": "1"}})], "Burstable"),
            (vec![both.clone()], "Guaranteed"),
            (vec![both.clone(), json!({})], "Burstable"),
            (vec![json!({"requests": {"cpu": "0"}})], "BestEffort"),
            (
                vec![
                    json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
                ],
                "Burstable",
            ),
        ] {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|resources| json!({"resources": resources}))
                .collect();
            let pod = json!({"spec": {"containers": containers}});
            let pod = pod.as_object().expect("a map");
            assert_eq!(class(pod), class_name, "{pod:?}");
        }
    }
}

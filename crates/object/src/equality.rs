//! When two values mean the same.

use serde_json::{Map, Value};

/// Whether two values mean the same: absent, null, empty lists and empty maps do.
#[must_use]
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => same_trees(a, b),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) if a == b => true,
        (a, b) => is_nothing(a) && is_nothing(b),
    }
}

/// Whether two maps mean the same, as [`same`] has it.
#[must_use]
pub fn same_trees(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.iter().all(|(key, value)| same(Some(value), b.get(key)))
        && b.iter()
            .all(|(key, value)| a.contains_key(key) || is_nothing(Some(value)))
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_and_absent_mean_the_same() {
        let a = json!({"a": 1, "b": [], "c": {}});
        let b = json!({"a": 1, "d": null});
        assert!(same(Some(&a), Some(&b)));
        assert!(!same(Some(&json!({"a": 1})), Some(&json!({"a": 2}))));
        assert!(!same(Some(&json!({"a": ""})), None));
    }
}

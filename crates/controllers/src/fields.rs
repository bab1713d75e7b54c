//! Reading fields of trees, and the condition lists of statuses.

use jiff::Timestamp;
use kontiki_object::{Object, Value, time};
use serde_json::json;

/// An integer by its path.
pub(crate) fn int(object: &Object, path: &[&str]) -> Option<i64> {
    object.get(path)?.as_i64()
}

/// A flag by its path; absent is false.
pub(crate) fn flag(object: &Object, path: &[&str]) -> bool {
    object
        .get(path)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// A time by its path.
pub(crate) fn instant(object: &Object, path: &[&str]) -> Option<Timestamp> {
    object.str_at(path).and_then(time::parse)
}

/// A list by its path; absent is empty.
pub(crate) fn list<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    object
        .get(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A text inside a value; absent is empty.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A condition of `status.conditions`.
pub(crate) fn condition<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    let conditions = list(object, &["status", "conditions"]);
    conditions
        .iter()
        .find(|condition| text(condition, "type") == kind)
}

/// Whether a condition is `True`.
pub(crate) fn is_true(object: &Object, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "status") == "True")
}

/// A condition to be set.
#[derive(Clone, Debug)]
pub(crate) struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: String,
}

/// Sets a condition in a list; its transition time moves only with its status.
pub(crate) fn set_condition(
    conditions: &mut Vec<Value>,
    wanted: &Condition<'_>,
    extra: &[(&str, Value)],
    now: Timestamp,
) {
    let known = conditions
        .iter_mut()
        .find(|known| text(known, "type") == wanted.kind);
    let since = match &known {
        Some(known) if text(known, "status") == wanted.status => {
            known["lastTransitionTime"].clone()
        }
        _ => json!(time::format(now)),
    };
    let mut fresh = json!({
        "type": wanted.kind, "status": wanted.status, "lastTransitionTime": since,
        "reason": wanted.reason, "message": wanted.message,
    });
    for (field, value) in extra {
        fresh[*field] = value.clone();
    }
    match known {
        Some(known) => *known = fresh,
        None => conditions.push(fresh),
    }
}

/// `intOrString` as a share of `total`.
pub(crate) fn share(value: Option<&Value>, default: &str, total: i64, round_up: bool) -> i64 {
    let parse = |text: &str| -> Option<i64> {
        let percent = text.strip_suffix('%')?;
        let percent: i64 = percent.parse().ok()?;
        let product = percent * total;
        Some(if round_up {
            (product + 99) / 100
        } else {
            product / 100
        })
    };
    match value {
        Some(Value::Number(number)) => number.as_i64().unwrap_or_default(),
        Some(Value::String(text)) => parse(text).unwrap_or_default(),
        _ => parse(default)
            .or_else(|| default.parse().ok())
            .unwrap_or_default(),
    }
}

/// The time until an instant; zero if it has passed.
pub(crate) fn until(instant: Timestamp, now: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(instant.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_asked() {
        let table = [
            (json!(3), 10, true, 3),
            (json!("25%"), 10, true, 3),
            (json!("25%"), 10, false, 2),
            (json!("0%"), 10, true, 0),
        ];
        for (value, total, up, expected) in table {
            assert_eq!(
                share(Some(&value), "0", total, up),
                expected,
                "{value} of {total}"
            );
        }
        assert_eq!(share(None, "25%", 4, true), 1);
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut conditions = Vec::new();
        let mut condition = Condition {
            kind: "Ready",
            status: "True",
            reason: "A",
            message: String::new(),
        };
        set_condition(&mut conditions, &condition, &[], Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(60).expect("in range");
        condition.reason = "B";
        set_condition(&mut conditions, &condition, &[], later);
        assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        condition.status = "False";
        set_condition(&mut conditions, &condition, &[], later);
        assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:01:00Z");
        assert_eq!(conditions.len(), 1);
    }
}

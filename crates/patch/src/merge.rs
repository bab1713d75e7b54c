//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

use crate::PatchError;

/// Applies a JSON merge patch to a copy of the object.
///
/// # Errors
/// When the patch cannot be read or is no object.
pub fn merge_patch(object: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch = read_object(patch)?;
    let mut merged = object.clone();
    merge(&mut merged, &Value::Object(patch));
    Ok(merged)
}

/// Merges `patch` into `target`: `null` removes, objects merge, anything else
/// replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().expect("it was made an object");
    for (name, change) in patch {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Reads a patch that has to be an object, with the texts of Go's decoder.
pub(crate) fn read_object(patch: &[u8]) -> Result<Map<String, Value>, PatchError> {
    let decoding = |text: &str| PatchError::Malformed(format!("error decoding patch: {text}"));
    match serde_json::from_slice(patch) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Null) => Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
        Ok(other) => Err(decoding(&format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_kind(&other)
        ))),
        Err(error) => Err(decoding(&crate::syntax::explain(patch, &error))),
    }
}

/// Go's word for a JSON value.
pub(crate) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": [2, null]}),
                json!({"a": [2, null]}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (object, patch, expected) in cases {
            assert_eq!(
                merge_patch(&object, patch.to_string().as_bytes()),
                Ok(expected),
                "{patch}"
            );
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        let cases = [
            ("", "error decoding patch: unexpected end of JSON input"),
            (
                "[]",
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                "\"x\"",
                "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}",
            ),
            ("null", "Invalid JSON Patch"),
        ];
        for (patch, text) in cases {
            assert_eq!(
                merge_patch(&json!({}), patch.as_bytes()),
                Err(PatchError::Malformed(text.to_owned()))
            );
        }
    }
}

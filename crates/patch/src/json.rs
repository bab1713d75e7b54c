//! JSON Patch (RFC 6902) with the leniencies that Kubernetes clients rely on:
//! `replace` of a missing member of an existing object adds it.

use serde_json::Value;

use crate::PatchError;

/// No patch may have more operations than this.
pub const OPERATIONS_MAX: usize = 10_000;

/// Applies a JSON patch to a copy of the object.
///
/// # Errors
/// When the patch cannot be read, has too many operations, or one of them does
/// not fit the object.
pub fn json_patch(object: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations = read(patch)?;
    let mut patched = object.clone();
    for operation in &operations {
        apply(&mut patched, operation)?;
    }
    Ok(patched)
}

fn read(patch: &[u8]) -> Result<Vec<Value>, PatchError> {
    let decoding = |text: &str| PatchError::Malformed(format!("error decoding patch: {text}"));
    let value: Value = serde_json::from_slice(patch)
        .map_err(|error| decoding(&crate::syntax::explain(patch, &error)))?;
    let operations = match value {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => {
            let found = crate::merge::go_kind(&other);
            return Err(decoding(&format!(
                "json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    Ok(operations)
}

fn apply(object: &mut Value, operation: &Value) -> Result<(), PatchError> {
    let unprocessable = |reason: String| PatchError::Unprocessable { reason };
    let step: json_patch::PatchOperation = serde_json::from_value(operation.clone())
        .map_err(|error| unprocessable(error.to_string()))?;
    let step = match step {
        json_patch::PatchOperation::Replace(replace)
            if adds_member(object, replace.path.as_str()) =>
        {
            json_patch::PatchOperation::Add(json_patch::AddOperation {
                path: replace.path,
                value: replace.value,
            })
        }
        other => other,
    };
    json_patch::patch(object, &[step]).map_err(|error| unprocessable(error.to_string()))
}

/// Whether the path names a missing member of an object that exists.
fn adds_member(object: &Value, path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else {
        return false;
    };
    object.pointer(path).is_none() && object.pointer(parent).is_some_and(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({"metadata": {"labels": {"x/y": "1"}}, "data": {"a": "1", "b": "2"}, "list": [1, 2]})
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let cases = [
            (
                r#"[{"op":"add","path":"/data/c","value":"3"}]"#,
                "/data/c",
                json!("3"),
            ),
            (
                r#"[{"op":"remove","path":"/data/a"}]"#,
                "/data",
                json!({"b": "2"}),
            ),
            (
                r#"[{"op":"replace","path":"/data/zzz","value":"1"}]"#,
                "/data/zzz",
                json!("1"),
            ),
            (
                r#"[{"op":"add","path":"/list/-","value":3}]"#,
                "/list",
                json!([1, 2, 3]),
            ),
            (
                r#"[{"op":"copy","from":"/data/a","path":"/data/c"}]"#,
                "/data/c",
                json!("1"),
            ),
            (
                r#"[{"op":"test","path":"/metadata/labels/x~1y","value":"1"}]"#,
                "/data/a",
                json!("1"),
            ),
            ("[]", "/data/a", json!("1")),
        ];
        for (patch, path, expected) in cases {
            let patched = json_patch(&object(), patch.as_bytes()).expect(patch);
            assert_eq!(patched.pointer(path), Some(&expected), "{patch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_unprocessable_and_leaves_the_object() {
        for patch in [
            r#"[{"op":"remove","path":"/data/zzz"}]"#,
            r#"[{"op":"add","path":"/nope/x","value":"1"}]"#,
            r#"[{"op":"test","path":"/data/a","value":"no"},{"op":"remove","path":"/data/a"}]"#,
            r#"[{"op":"frobnicate","path":"/data/a"}]"#,
            r#"[{"path":"/data/a"}]"#,
        ] {
            let error = json_patch(&object(), patch.as_bytes()).expect_err(patch);
            assert_eq!(
                error.to_string(),
                "the server rejected our request due to an error in our request"
            );
        }
    }

    #[test]
    fn what_is_no_patch_is_malformed() {
        let text = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!(
            json_patch(&object(), b"{}"),
            Err(PatchError::Malformed(text.to_owned()))
        );
        let many = json!(vec![
            json!({"op": "test", "path": "", "value": {}});
            OPERATIONS_MAX + 1
        ]);
        let refused = json_patch(&object(), many.to_string().as_bytes()).expect_err("too many");
        assert_eq!(
            refused.to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }
}

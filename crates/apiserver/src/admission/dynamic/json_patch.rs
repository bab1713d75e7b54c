//! JSON patches that policies and webhooks answer: complaints are told.

use kontiki_object::Value;

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admission) enum PatchFailure {
    /// A test found another value.
    TestFailed(String),
    /// It does not fit.
    Failed(String),
}

impl PatchFailure {
    pub(in crate::admission) fn text(&self) -> &str {
        match self {
            Self::TestFailed(text) | Self::Failed(text) => text,
        }
    }
}

/// Applies the operations of a patch one after the other.
pub(in crate::admission) fn apply(
    object: &Value,
    operations: &[Value],
) -> Result<Value, PatchFailure> {
    if operations.len() > kontiki_patch::OPERATIONS_MAX {
        return Err(PatchFailure::Failed(format!(
            "the patch has {} operations; {} are allowed",
            operations.len(),
            kontiki_patch::OPERATIONS_MAX
        )));
    }
    let mut patched = object.clone();
    for operation in operations {
        complaint(&patched, operation)?;
        let one = Value::Array(vec![operation.clone()]).to_string();
        patched = kontiki_patch::json_patch(&patched, one.as_bytes()).map_err(|error| {
            let why = match error {
                kontiki_patch::PatchError::Unprocessable { reason } => reason,
                other => other.to_string(),
            };
            PatchFailure::Failed(why)
        })?;
    }
    Ok(patched)
}

/// The container that a path leads into, and the member there.
fn parent<'a>(object: &'a Value, path: &str) -> Option<(&'a Value, String)> {
    let (parent, member) = path.rsplit_once('/')?;
    let container = object.pointer(parent)?;
    let is_container = container.is_object() || container.is_array();
    is_container.then(|| (container, member.replace("~1", "/").replace("~0", "~")))
}

/// What upstream says about an operation that does not fit.
fn complaint(object: &Value, operation: &Value) -> Result<(), PatchFailure> {
    let text = |field: &str| operation[field].as_str().unwrap_or_default();
    let (op, path) = (text("op"), text("path"));
    let failed = |why: String| Err(PatchFailure::Failed(why));
    let found = object.pointer(path);
    let Some((_, member)) = parent(object, path) else {
        return match op {
            "test" if path.is_empty() => Ok(()),
            "test" => failed(format!(
                "test operation does not apply: is missing path: {path}: missing value"
            )),
            "add" | "remove" => failed(format!(
                "{op} operation does not apply: doc is missing path: \"{path}\": missing value"
            )),
            "replace" => failed(format!(
                "replace operation does not apply: doc is missing path: {path}: missing value"
            )),
            _ => Ok(()),
        };
    };
    match op {
        "test" => {
            let wanted = operation.get("value").filter(|value| !value.is_null());
            if found.filter(|value| !value.is_null()) == wanted {
                return Ok(());
            }
            Err(PatchFailure::TestFailed(format!(
                "testing value {path} failed: test failed"
            )))
        }
        "remove" if found.is_none() => failed(format!(
            "error in remove for path: '{path}': Unable to remove nonexistent key: {member}: missing value"
        )),
        "replace" if found.is_none() => failed(format!(
            "replace operation does not apply: doc is missing key: {path}: missing value"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_apply_one_after_the_other_or_say_why_not() {
        let object = json!({"metadata": {"labels": {"a": "1"}}, "list": [1]});
        let operations = json!([
            {"op": "test", "path": "/metadata/labels/a", "value": "1"},
            {"op": "add", "path": "/metadata/labels/x~1y", "value": "2"},
            {"op": "add", "path": "/list/-", "value": 2},
            {"op": "remove", "path": "/metadata/labels/a"},
        ]);
        let patched = apply(&object, operations.as_array().expect("a list"));
        let wanted = json!({"metadata": {"labels": {"x/y": "2"}}, "list": [1, 2]});
        assert_eq!(patched, Ok(wanted));
        for (operation, why) in [
            (
                json!({"op": "test", "path": "/data/a", "value": "x"}),
                PatchFailure::Failed(
                    "test operation does not apply: is missing path: /data/a: missing value".into(),
                ),
            ),
            (
                json!({"op": "test", "path": "/metadata/labels/a", "value": "2"}),
                PatchFailure::TestFailed(
                    "testing value /metadata/labels/a failed: test failed".into(),
                ),
            ),
            (
                json!({"op": "add", "path": "/data/a", "value": "x"}),
                PatchFailure::Failed(
                    "add operation does not apply: doc is missing path: \"/data/a\": missing value"
                        .into(),
                ),
            ),
        ] {
            assert_eq!(apply(&object, &[operation]), Err(why));
        }
    }
}

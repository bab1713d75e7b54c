//! Hashes of templates, and `ControllerRevision`s: the history of DaemonSets and
//! StatefulSets.

use crate::Action;
use crate::fields::int;
use crate::owners::controller_reference;
use kontiki_client::resources::CONTROLLER_REVISIONS;
use kontiki_object::{Object, SharedObject, Value};
use serde_json::json;
use std::fmt::Write as _;

/// The label that names a pod's revision.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";

/// A short hash of a template, made only of letters and digits that form no word.
pub(crate) fn hash(template: &Value, collisions: Option<i64>) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    canonical(template, &mut text);
    if let Some(collisions) = collisions {
        let _ = write!(text, "#{collisions}");
    }
    let fnv = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let digits = fnv.to_string().into_bytes();
    let safe = digits
        .iter()
        .map(|digit| char::from(SAFE[usize::from(*digit) % SAFE.len()]));
    safe.collect()
}

/// A tree as text that does not depend on the order of its fields.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (name, value) in fields {
                let _ = write!(out, "{name:?}:");
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// The revision history of one workload.
pub(crate) struct History {
    /// Oldest first.
    pub revisions: Vec<SharedObject>,
    /// The revision that the present template is, if it is recorded.
    pub current: Option<SharedObject>,
    /// What is to be written so that it is recorded.
    pub actions: Vec<Action>,
    /// The hash of the present template.
    pub hash: String,
}

impl History {
    /// Sorts a workload's revisions and finds the present template among them.
    pub(crate) fn of(workload: &SharedObject, mut revisions: Vec<SharedObject>) -> Self {
        revisions.sort_by_key(|revision| (number(revision), revision.created_at()));
        let mut template = workload
            .get(&["spec", "template"])
            .cloned()
            .unwrap_or_default();
        template["$patch"] = json!("replace");
        let data = json!({"spec": {"template": template}});
        let collisions = int(workload, &["status", "collisionCount"]);
        let fresh_hash = hash(&data, collisions);
        let equal = revisions
            .iter()
            .rev()
            .find(|known| known.get(&["data"]) == Some(&data));
        let last = revisions.last().map_or(0, |last| number(last));
        let (current, hash, action) = match equal.cloned() {
            Some(known) => {
                let label = known
                    .label(REVISION_LABEL)
                    .unwrap_or(&fresh_hash)
                    .to_owned();
                // A rollback: the old revision becomes the newest.
                let action = (number(&known) < last).then(|| {
                    let mut body = known.to_value();
                    body["revision"] = json!(last + 1);
                    Action::update(&CONTROLLER_REVISIONS, body)
                });
                (Some(known), label, action)
            }
            None => {
                let body = Self::body(workload, &data, &fresh_hash, last + 1);
                let action = Action::create(&CONTROLLER_REVISIONS, workload.namespace(), body);
                (None, fresh_hash, Some(action))
            }
        };
        Self {
            revisions,
            current,
            actions: action.into_iter().collect(),
            hash,
        }
    }

    fn body(workload: &Object, data: &Value, hash: &str, revision: i64) -> Value {
        let labels = workload.get(&["spec", "template", "metadata", "labels"]);
        let mut labels = labels.cloned().unwrap_or_else(|| json!({}));
        labels[REVISION_LABEL] = json!(hash);
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": format!("{}-{hash}", workload.name()),
                "namespace": workload.namespace(), "labels": labels,
                "ownerReferences": [controller_reference(workload)],
            },
            "data": data, "revision": revision,
        })
    }

    /// Deletes what is beyond `spec.revisionHistoryLimit` and in no pod's use.
    pub(crate) fn truncate(
        &self,
        workload: &Object,
        in_use: impl Fn(&Object) -> bool,
    ) -> Vec<Action> {
        let limit = int(workload, &["spec", "revisionHistoryLimit"])
            .unwrap_or(10)
            .max(0);
        let current = self.current.as_ref().map(|current| current.uid());
        let old: Vec<_> = self
            .revisions
            .iter()
            .filter(|revision| Some(revision.uid()) != current && !in_use(revision))
            .collect();
        let surplus = old
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        let surplus = old.into_iter().take(surplus);
        surplus
            .map(|revision| Action::delete(&CONTROLLER_REVISIONS, revision))
            .collect()
    }
}

fn number(revision: &Object) -> i64 {
    int(revision, &["revision"]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_content_not_on_order() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#).expect("JSON");
        let b: Value = serde_json::from_str(r#"{"b":{"c":[1,2]},"a":1}"#).expect("JSON");
        assert_eq!(hash(&a, None), hash(&b, None));
        assert_ne!(hash(&a, None), hash(&a, Some(1)));
        assert_ne!(hash(&a, None), hash(&json!({"a": 2}), None));
        assert!(
            hash(&a, None)
                .bytes()
                .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        );
    }
}

//! From the policy that is there to the writes that make it whole.

use super::{AUTO_UPDATE, PolicyObject};
use crate::rbac::{Rule, covers};
use kontiki_object::{GroupVersionResource, Object, Value};

/// A write that the policy needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create this object.
    Create {
        /// Its resource.
        resource: GroupVersionResource,
        /// The object.
        object: Value,
    },
    /// Replace the object of this name.
    Update {
        /// Its resource.
        resource: GroupVersionResource,
        /// The object, with the resource version that was read.
        object: Value,
    },
    /// Delete and create again: a binding's role cannot be changed.
    Replace {
        /// Its resource.
        resource: GroupVersionResource,
        /// The object.
        object: Value,
    },
}

/// What has to be written so that `wanted` holds; `None` if it does.
#[must_use]
pub fn reconcile(wanted: &PolicyObject, present: Option<&Object>) -> Option<Write> {
    let resource = wanted.resource.clone();
    let Some(present) = present else {
        return Some(Write::Create {
            resource,
            object: wanted.object.to_value(),
        });
    };
    if present.annotation(AUTO_UPDATE) == Some("false") {
        return None;
    }
    let role_of = |object: &Object| object.get(&["roleRef"]).cloned();
    if role_of(present) != role_of(&wanted.object) {
        return Some(Write::Replace {
            resource,
            object: wanted.object.to_value(),
        });
    }
    let mut object = present.to_value();
    add_texts(&mut object, wanted, "labels");
    add_texts(&mut object, wanted, "annotations");
    if wanted.object.get(&["aggregationRule"]).is_some() {
        add_items(
            &mut object,
            wanted,
            &["aggregationRule", "clusterRoleSelectors"],
            |_, _| false,
        );
    } else {
        add_items(&mut object, wanted, &["rules"], is_covered);
    }
    add_items(&mut object, wanted, &["subjects"], |_, _| false);
    (object != present.to_value()).then_some(Write::Update { resource, object })
}

fn add_texts(object: &mut Value, wanted: &PolicyObject, field: &str) {
    let Some(Value::Object(texts)) = wanted.object.get(&["metadata", field]) else {
        return;
    };
    for (key, value) in texts {
        let there = &mut object["metadata"][field];
        // An administrator's own value stays.
        if there.get(key).is_none() {
            there[key] = value.clone();
        }
    }
}

fn is_covered(present: &[Value], wanted: &Value) -> bool {
    let present: Vec<Rule> = present.iter().map(Rule::from_value).collect();
    covers(&present, &[Rule::from_value(wanted)]).is_ok()
}

/// Adds the items of a list that are neither there nor covered by what is there.
fn add_items(
    object: &mut Value,
    wanted: &PolicyObject,
    path: &[&str],
    covered: fn(&[Value], &Value) -> bool,
) {
    let Some(Value::Array(items)) = wanted.object.get(path) else {
        return;
    };
    let field = path.iter().fold(object, |value, name| &mut value[*name]);
    for item in items {
        let there = field.as_array().map(Vec::as_slice).unwrap_or_default();
        if there.contains(item) || covered(there, item) {
            continue;
        }
        if let Some(list) = field.as_array_mut() {
            list.push(item.clone());
        } else {
            *field = Value::Array(vec![item.clone()]);
        }
    }
}

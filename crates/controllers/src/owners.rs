//! Who owns what: owner references, adoption and release.

use crate::Action;
use kontiki_object::{GroupVersionResource, LabelSelector, Object, SharedObject, Value};
use serde_json::json;

/// The owner reference by which `owner` controls an object.
pub(crate) fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.name(),
        "uid": owner.uid(), "controller": true, "blockOwnerDeletion": true,
    })
}

/// What an owner has, and the writes that settle who has what.
pub(crate) struct Claimed {
    /// Controlled by the owner and selected by it.
    pub owned: Vec<SharedObject>,
    /// Adoptions and releases.
    pub actions: Vec<Action>,
}

/// Sorts candidates: what the owner controls and selects is its own, what it
/// controls and no longer selects is released, what nobody controls and it
/// selects is adopted (and counts from the next reconciliation on).
pub(crate) fn claim(
    owner_resource: &GroupVersionResource,
    owner: &SharedObject,
    resource: &GroupVersionResource,
    selector: &LabelSelector,
    candidates: Vec<SharedObject>,
) -> Claimed {
    let mut claimed = Claimed {
        owned: Vec::new(),
        actions: Vec::new(),
    };
    for candidate in candidates {
        let selected = selector.matches(&candidate);
        match candidate.controller_of() {
            Some(controller) if controller.uid != owner.uid() => {}
            Some(_) if selected || owner.is_terminating() => claimed.owned.push(candidate),
            Some(_) => claimed.actions.push(release(owner, resource, &candidate)),
            None if selected && !owner.is_terminating() && !candidate.is_terminating() => {
                let action = adopt(owner_resource, owner, resource, &candidate);
                claimed.actions.push(action);
            }
            None => {}
        }
    }
    claimed
}

fn adopt(
    owner_resource: &GroupVersionResource,
    owner: &SharedObject,
    resource: &GroupVersionResource,
    object: &Object,
) -> Action {
    let mut references = references_without(object, owner.uid());
    references.push(controller_reference(owner));
    Action::Adopt {
        owner_resource: owner_resource.clone(),
        owner: owner.clone(),
        resource: resource.clone(),
        name: object.name().to_owned(),
        patch: guarded(object, references),
    }
}

fn release(owner: &Object, resource: &GroupVersionResource, object: &Object) -> Action {
    let references = references_without(object, owner.uid());
    Action::patch(resource, object, guarded(object, references))
}

/// The owner references as they are, but for those to one owner.
pub(crate) fn references_without(object: &Object, uid: &str) -> Vec<Value> {
    let references = crate::fields::list(object, &["metadata", "ownerReferences"]);
    let others = references
        .iter()
        .filter(|reference| reference["uid"] != uid);
    others.cloned().collect()
}

/// A merge patch of the whole list, which therefore has to name the version it
/// was made from.
pub(crate) fn guarded(object: &Object, references: Vec<Value>) -> Value {
    json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(),
        "ownerReferences": if references.is_empty() { Value::Null } else { json!(references) },
    }})
}

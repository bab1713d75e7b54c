//! What several plugins do with pods.

use super::{Attributes, Operation};
use kontiki_kinds::Tree;
use kontiki_object::Value;

/// Whether a pod is being created.
pub(super) fn is_creation(attributes: &Attributes<'_>) -> bool {
    attributes.operation == Operation::Create && attributes.is_for("", "pods")
}

/// The pod's spec.
pub(super) fn spec<'a>(attributes: &'a mut Attributes<'_>) -> Option<&'a mut Tree> {
    attributes
        .object
        .as_deref_mut()?
        .entry("spec")
        .or_insert_with(|| Value::Object(Tree::new()))
        .as_object_mut()
}

/// A list in the spec, made if it is not there.
pub(super) fn list<'a>(spec: &'a mut Tree, name: &str) -> Option<&'a mut Vec<Value>> {
    spec.entry(name)
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
}

/// Every container of a list of containers.
pub(super) fn containers<'a>(spec: &'a mut Tree, name: &str) -> impl Iterator<Item = &'a mut Tree> {
    spec.get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

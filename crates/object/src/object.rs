//! An API object: a JSON tree that is always a map, with typed views made once.

use crate::{GroupVersionKind, Map, Value, time};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// An object that is shared between caches, watchers and controllers.
pub type SharedObject = Arc<Object>;

/// One revision of one API object.
///
/// The tree is immutable once shared; a change makes a new `Object`. A typed
/// view ([`Object::typed`]) and the JSON bytes ([`Object::json`]) are made at
/// most once and shared by all holders.
pub struct Object {
    tree: Map<String, Value>,
    json: OnceLock<Bytes>,
    typed: OnceLock<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl Object {
    /// Wraps a tree.
    #[must_use]
    pub fn new(tree: Map<String, Value>) -> Self {
        Self {
            tree,
            json: OnceLock::new(),
            typed: OnceLock::new(),
        }
    }

    /// Wraps a value; `None` unless it is a map.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(tree) => Some(Self::new(tree)),
            _ => None,
        }
    }

    /// From anything that serialises to a map, for instance a typed Kubernetes struct.
    ///
    /// # Errors
    /// If it does not serialise, or not to a map.
    pub fn from_typed<T: Serialize>(typed: &T) -> Result<Self, serde_json::Error> {
        match serde_json::to_value(typed)? {
            Value::Object(tree) => Ok(Self::new(tree)),
            other => Err(serde::ser::Error::custom(format!(
                "an object is a map, not {other}"
            ))),
        }
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Map<String, Value> {
        &self.tree
    }

    /// Gives the tree back, for a change.
    #[must_use]
    pub fn into_tree(self) -> Map<String, Value> {
        self.tree
    }

    /// A copy of the tree as a value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.tree.clone())
    }

    /// The JSON encoding, made once and shared.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.json
            .get_or_init(|| {
                Bytes::from(serde_json::to_vec(&self.tree).expect("a JSON tree always encodes"))
            })
            .clone()
    }

    /// The typed view. The first type asked for is remembered and shared;
    /// another type is decoded afresh each time.
    ///
    /// # Errors
    /// If the tree does not have the type's shape.
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
    ) -> Result<Arc<T>, serde_json::Error> {
        if let Some((id, any)) = self.typed.get()
            && *id == TypeId::of::<T>()
            && let Ok(typed) = any.clone().downcast::<T>()
        {
            return Ok(typed);
        }
        let typed = Arc::new(T::deserialize(&self.tree)?);
        let _ = self.typed.set((TypeId::of::<T>(), typed.clone()));
        Ok(typed)
    }

    /// A field by its path of names.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.tree.get(*first)?, |value, name| value.get(*name))
    }

    /// A string field by its path; empty strings count as absent.
    #[must_use]
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.as_str().filter(|s| !s.is_empty())
    }

    fn meta_str(&self, field: &str) -> &str {
        self.str_at(&["metadata", field]).unwrap_or_default()
    }

    /// `apiVersion`, empty if absent.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"]).unwrap_or_default()
    }

    /// `kind`, empty if absent.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.str_at(&["kind"]).unwrap_or_default()
    }

    /// Group, version and kind as the object itself states them.
    #[must_use]
    pub fn gvk(&self) -> GroupVersionKind {
        let (group, version) = self
            .api_version()
            .rsplit_once('/')
            .unwrap_or(("", self.api_version()));
        GroupVersionKind {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            kind: Cow::Owned(self.kind().to_owned()),
        }
    }

    /// `metadata.name`, empty if absent.
    #[must_use]
    pub fn name(&self) -> &str {
        self.meta_str("name")
    }

    /// `metadata.namespace`, empty for cluster-scoped objects.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }

    /// `namespace/name`, or just `name` for cluster-scoped objects.
    #[must_use]
    pub fn key(&self) -> String {
        match self.namespace() {
            "" => self.name().to_owned(),
            namespace => format!("{namespace}/{}", self.name()),
        }
    }

    /// `metadata.uid`, empty if absent.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.meta_str("uid")
    }

    /// `metadata.resourceVersion`, empty if absent.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }

    /// `metadata.generation`, 0 if absent.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.get(&["metadata", "generation"])
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// Whether deletion was asked for and the object waits for its finalizers or its grace period.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.str_at(&["metadata", "deletionTimestamp"]).is_some()
    }

    /// `metadata.creationTimestamp`.
    #[must_use]
    pub fn created_at(&self) -> Option<jiff::Timestamp> {
        time::parse(self.meta_str("creationTimestamp"))
    }

    fn strings<'a>(&'a self, path: &[&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.get(path)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings(&["metadata", "labels"])
    }

    /// One label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.get(&["metadata", "labels", key])?.as_str()
    }

    /// The annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings(&["metadata", "annotations"])
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.get(&["metadata", "annotations", key])?.as_str()
    }

    /// The finalizers.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.get(&["metadata", "finalizers"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// The owner references; malformed ones are passed over.
    #[must_use]
    pub fn owner_references(&self) -> Vec<OwnerReference> {
        self.get(&["metadata", "ownerReferences"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|reference| OwnerReference::deserialize(reference).ok())
            .collect()
    }

    /// The owner that manages the object, if any.
    #[must_use]
    pub fn controller_of(&self) -> Option<OwnerReference> {
        self.owner_references()
            .into_iter()
            .find(|owner| owner.controller == Some(true))
    }
}

impl Clone for Object {
    /// A copy to be changed: the tree, without what was derived from it.
    fn clone(&self) -> Self {
        Self::new(self.tree.clone())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the content: a Secret would reach the log.
        write!(
            f,
            "{} {} {}@{}",
            self.api_version(),
            self.kind(),
            self.key(),
            self.resource_version()
        )
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// Whether the owner manages the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether foreground deletion of the owner waits for the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::from_value(value).expect("a map")
    }

    #[test]
    fn metadata_is_read_from_the_tree() {
        let pod = object(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7",
                "labels": {"app": "x"}, "finalizers": ["f"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "v", "controller": true}],
            },
        }));
        assert_eq!(pod.key(), "b/a");
        assert_eq!(pod.gvk(), GroupVersionKind::new("", "v1", "Pod"));
        assert_eq!(pod.label("app"), Some("x"));
        assert_eq!(pod.finalizers().collect::<Vec<_>>(), ["f"]);
        assert_eq!(pod.controller_of().expect("has one").name, "r");
        assert!(!pod.is_terminating());
    }

    #[test]
    fn a_debug_print_shows_no_content() {
        let secret =
            object(json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}));
        assert!(!format!("{secret:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn a_typed_view_is_made_once() {
        #[derive(serde::Deserialize)]
        struct Named {
            kind: String,
        }
        let pod = object(json!({"kind": "Pod"}));
        let first = pod.typed::<Named>().expect("has the shape");
        let second = pod.typed::<Named>().expect("has the shape");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.kind, "Pod");
    }
}

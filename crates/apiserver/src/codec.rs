//! How objects lie in the store: protobuf with its envelope where that form
//! keeps everything the object says, else JSON. Both are always read.
//!
//! **Invariant:** `metadata.resourceVersion` is never stored: it is the
//! revision at which the store wrote the key.

use bytes::Bytes;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, Value};
use kontiki_schema::{Schema, protobuf};
use kontiki_store::Revision;
use thiserror::Error;

/// Why bytes of the store are no object.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    /// Neither form fits.
    #[error("the stored value cannot be decoded: {0}")]
    Decode(String),
    /// It is well-formed, but not a map.
    #[error("the stored value is not an object")]
    NotAnObject,
}

/// Encodes an object (in its stored form) for the store.
#[must_use]
pub fn encode(kind: &Kind, mut tree: Tree) -> Bytes {
    if let Some(Value::Object(metadata)) = tree.get_mut("metadata") {
        metadata.remove("resourceVersion");
    }
    let api_version = tree
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let ty = Schema::get()
        .type_for_api_version(api_version, &kind.kind)
        .filter(|ty| ty.has_protobuf);
    let value = Value::Object(tree);
    if ty.is_some_and(|ty| protobuf::is_complete(ty, &value))
        && let Ok(bytes) = protobuf::encode_object(&value)
    {
        return bytes;
    }
    Bytes::from(serde_json::to_vec(&value).expect("a JSON tree always encodes"))
}

/// Decodes a value of the store and stamps it with its revision.
///
/// # Errors
/// If the bytes are no object in a form that is known here.
pub fn decode(value: &[u8], revision: Revision) -> Result<Object, CodecError> {
    let decoded = if protobuf::has_envelope(value) {
        protobuf::decode_object(value).map_err(|error| CodecError::Decode(error.to_string()))?
    } else {
        serde_json::from_slice(value).map_err(|error| CodecError::Decode(error.to_string()))?
    };
    let Value::Object(mut tree) = decoded else {
        return Err(CodecError::NotAnObject);
    };
    stamp(&mut tree, revision);
    Ok(Object::new(tree))
}

/// Writes the revision into the metadata.
pub fn stamp(tree: &mut Tree, revision: Revision) {
    let metadata = tree
        .entry("metadata")
        .or_insert_with(|| Value::Object(Tree::new()));
    if let Value::Object(metadata) = metadata {
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    }
}

/// From the stored form to the form that `kind` serves.
pub fn to_served(kind: &Kind, tree: &mut Tree) {
    if let Some(conversion) = kind.conversion {
        (conversion.from_stored)(tree);
    }
    tree.insert("apiVersion".to_owned(), kind.api_version().into());
    tree.insert("kind".to_owned(), kind.kind.clone().into());
}

/// From the form that `kind` serves to the stored form.
pub fn to_stored(kind: &Kind, tree: &mut Tree) {
    if kind.custom.is_some() {
        // Such objects are converted where they enter the store.
        return;
    }
    if let Some(conversion) = kind.conversion {
        (conversion.to_stored)(tree);
    }
    if let Some(storage) = &kind.storage {
        tree.insert("apiVersion".to_owned(), storage.api_version.clone().into());
    }
    tree.insert("kind".to_owned(), kind.kind.clone().into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_without_its_resource_version() {
        let kind = kontiki_kinds::find("", "v1", "configmaps").expect("is built in");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "b", "resourceVersion": "3"},
            "data": {"k": "v"},
        });
        let bytes = encode(kind, object.as_object().expect("a map").clone());
        assert!(protobuf::has_envelope(&bytes));
        let read = decode(&bytes, 9).expect("decodes");
        assert_eq!(read.resource_version(), "9");
        assert_eq!(read.get(&["data", "k"]), Some(&json!("v")));
    }

    #[test]
    fn json_is_read_too_and_garbage_is_an_error() {
        let read = decode(br#"{"kind":"X","metadata":{"name":"a"}}"#, 4).expect("decodes");
        assert_eq!(read.resource_version(), "4");
        assert!(decode(b"[1]", 4).is_err());
        assert!(decode(b"k8s\0garbage", 4).is_err());
    }
}

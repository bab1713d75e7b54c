//! One version of one object, and one event, as the cache shares them.

use crate::codec::{self, CodecError};
use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_object::{Object, SharedObject};
use kontiki_store::{EventKind, KeyValue, Revision};
use std::sync::{Arc, OnceLock};

/// One version of one object: the store's bytes, decoded at most once.
pub struct CachedObject {
    /// Revision of this version.
    pub mod_revision: Revision,
    value: Bytes,
    stored: OnceLock<Result<SharedObject, CodecError>>,
    /// The form of the first kind that serves another form than the stored one.
    other: OnceLock<(String, SharedObject)>,
}

impl CachedObject {
    /// From what the store says.
    #[must_use]
    pub fn new(kv: &KeyValue) -> Self {
        Self::from_value(kv.value.clone(), kv.mod_revision)
    }

    /// From bytes and their revision.
    #[must_use]
    pub fn from_value(value: Bytes, mod_revision: Revision) -> Self {
        Self {
            mod_revision,
            value,
            stored: OnceLock::new(),
            other: OnceLock::new(),
        }
    }

    /// The store's bytes.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The object in its stored form.
    ///
    /// # Errors
    /// If the bytes are no object.
    pub fn stored(&self) -> Result<SharedObject, CodecError> {
        self.stored
            .get_or_init(|| codec::decode(&self.value, self.mod_revision).map(Arc::new))
            .clone()
    }

    /// The object in the form that `kind` serves.
    ///
    /// # Errors
    /// If the bytes are no object.
    pub fn served(&self, kind: &Kind) -> Result<SharedObject, CodecError> {
        let stored = self.stored()?;
        if is_served_form(kind, &stored) {
            return Ok(stored);
        }
        let api_version = kind.api_version();
        let (form, object) = self
            .other
            .get_or_init(|| (api_version.clone(), convert(kind, &stored)));
        if *form == api_version {
            return Ok(object.clone());
        }
        Ok(convert(kind, &stored))
    }
}

fn is_served_form(kind: &Kind, stored: &Object) -> bool {
    kind.conversion.is_none()
        && stored.kind() == kind.kind
        && stored.api_version() == kind.api_version()
}

fn convert(kind: &Kind, stored: &Object) -> SharedObject {
    let mut tree = stored.tree().clone();
    codec::to_served(kind, &mut tree);
    Arc::new(Object::new(tree))
}

/// One change of one object.
pub struct CacheEvent {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub revision: Revision,
    /// The key below the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The object after the change; for a deletion its last state, stamped
    /// with the deletion's revision.
    pub object: Arc<CachedObject>,
    /// The object before the change.
    pub previous: Option<Arc<CachedObject>>,
}

impl CacheEvent {
    /// A deletion; the last state is told under the deletion's revision.
    #[must_use]
    pub fn deletion(key: Arc<str>, previous: Arc<CachedObject>, revision: Revision) -> Self {
        Self {
            kind: EventKind::Delete,
            revision,
            key,
            object: Arc::new(CachedObject::from_value(previous.value.clone(), revision)),
            previous: Some(previous),
        }
    }
}

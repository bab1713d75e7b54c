//! One version of one object, and one event, as the cache shares them.

use crate::codec::{self, CodecError};
use bytes::Bytes;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, SharedObject};
use kontiki_store::{EventKind, KeyValue, Revision};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// One version of one object: the store's bytes, decoded at most once.
pub struct CachedObject {
    /// Revision of this version.
    pub mod_revision: Revision,
    value: Bytes,
    stored: OnceLock<Result<SharedObject, CodecError>>,
    /// The last form that was asked for and is not the stored one, by its key.
    other: Mutex<Option<(String, SharedObject)>>,
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
            other: Mutex::new(None),
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
        let key = form_key(kind);
        let mut other = self.other.lock();
        if let Some((form, object)) = &*other
            && *form == key
        {
            return Ok(object.clone());
        }
        if self.needs_webhook(kind, &stored) {
            return Err(CodecError::Decode(format!(
                "it is not converted to {} yet",
                kind.api_version()
            )));
        }
        let object = convert(kind, &stored);
        *other = Some((key, object.clone()));
        Ok(object)
    }

    /// Whether only a webhook can say how the object looks in the form of `kind`.
    fn needs_webhook(&self, kind: &Kind, stored: &Object) -> bool {
        kind.custom
            .as_ref()
            .is_some_and(|custom| custom.conversion_webhook().is_some())
            && stored.api_version() != kind.api_version()
    }

    /// The stored object, if a webhook must be asked how `kind` serves it.
    #[must_use]
    pub fn unconverted(&self, kind: &Kind) -> Option<SharedObject> {
        let stored = self.stored().ok()?;
        let is_known = |(form, _): &(String, SharedObject)| *form == form_key(kind);
        (self.needs_webhook(kind, &stored) && !self.other.lock().as_ref().is_some_and(is_known))
            .then_some(stored)
    }

    /// Remembers what the webhook said.
    pub fn converted(&self, kind: &Kind, mut tree: Tree) {
        if let Some(custom) = &kind.custom {
            custom.revive(&mut tree);
        }
        *self.other.lock() = Some((form_key(kind), Arc::new(Object::new(tree))));
    }
}

fn form_key(kind: &Kind) -> String {
    match &kind.custom {
        Some(custom) => format!("{} {}", kind.api_version(), custom.identity()),
        None => kind.api_version(),
    }
}

fn is_served_form(kind: &Kind, stored: &Object) -> bool {
    kind.conversion.is_none()
        && kind.custom.is_none()
        && stored.kind() == kind.kind
        && stored.api_version() == kind.api_version()
}

fn convert(kind: &Kind, stored: &Object) -> SharedObject {
    let mut tree = stored.tree().clone();
    codec::to_served(kind, &mut tree);
    if let Some(custom) = &kind.custom {
        custom.revive(&mut tree);
    }
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

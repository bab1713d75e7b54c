//! Who asks for what, with which options.

use jiff::Timestamp;
use kontiki_auth::UserInfo;
use kontiki_kinds::{Context, Kind, Requester};
use kontiki_object::Status;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do everything but store it.
    pub dry_run: bool,
    /// Who owns the written fields.
    pub field_manager: String,
    /// Server-side apply: take fields over from other managers.
    pub force: bool,
    /// What to do about unknown fields.
    pub field_validation: FieldValidation,
}

/// The object or collection that a request is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub kind: Arc<Kind>,
    /// The namespace; empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// The name; empty for collections.
    pub name: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
}

impl Target {
    /// An object.
    pub fn object(kind: &Arc<Kind>, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        }
    }

    /// The key in the store; empty for kinds that are not stored.
    #[must_use]
    pub fn store_key(&self) -> String {
        self.kind
            .storage
            .as_ref()
            .map(|storage| storage.key(&self.namespace, &self.name))
            .unwrap_or_default()
    }

    /// 404.
    #[must_use]
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, &self.name)
    }

    /// 409 because somebody else changed it.
    #[must_use]
    pub fn modified(&self) -> Status {
        Status::modified(&self.kind.group, &self.kind.plural, &self.name)
    }

    /// 409 because of `why`.
    #[must_use]
    pub fn conflict(&self, why: &str) -> Status {
        Status::conflict(&self.kind.group, &self.kind.plural, &self.name, why)
    }

    /// 409 because the object is not the one that the caller means.
    #[must_use]
    pub fn other_uid(&self, wanted: &str, own: &str) -> Status {
        self.precondition_failed(&format!(
            "UID in precondition: {wanted}, UID in object meta: {own}"
        ))
    }

    /// 409 because the object is not in the version that the caller means.
    #[must_use]
    pub fn other_version(&self, wanted: &str, own: &str) -> Status {
        self.precondition_failed(&format!(
            "ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {own}"
        ))
    }

    /// In upstream's words, which tell the key but no version.
    fn precondition_failed(&self, what: &str) -> Status {
        self.conflict(&format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what}",
            self.store_key()
        ))
    }

    /// 403 because of `why`.
    #[must_use]
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.kind.group, &self.kind.plural, &self.name, why)
    }
}

/// One request, as the registry sees it.
pub struct RequestContext {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// When it came in.
    pub now: Timestamp,
    requester: Requester,
    warnings: Mutex<Vec<String>>,
    annotations: Mutex<BTreeMap<String, String>>,
}

impl RequestContext {
    /// A request of `user` at `now`.
    #[must_use]
    pub fn new(user: Arc<UserInfo>, now: Timestamp) -> Self {
        let requester = Requester {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user
                .extra
                .iter()
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect(),
        };
        Self {
            user,
            now,
            requester,
            warnings: Mutex::default(),
            annotations: Mutex::default(),
        }
    }

    /// What strategies may know.
    #[must_use]
    pub fn strategy(&self) -> Context<'_> {
        Context {
            now: self.now,
            requester: Some(&self.requester),
        }
    }

    /// Warns the caller; the same text only once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Notes something for the audit log; the first note under a key stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        let mut annotations = self.annotations.lock();
        annotations
            .entry(key.to_owned())
            .or_insert_with(|| value.into());
    }

    /// What has been noted for the audit log.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }

    /// The warnings so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }
}

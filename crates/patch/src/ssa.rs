//! Server-side apply and the tracking of every other write: KEP-555.
//!
//! Objects come in served form; `live` of a create is [`empty_object`]. The
//! result carries the new `metadata.managedFields`; defaulting, validation and
//! resetting values that the writer may not set are the caller's.

mod apply;
mod conflict;
mod track;

#[cfg(test)]
mod tests;

use kontiki_schema::node::Node;
use kontiki_schema::normal;
use serde_json::{Value, json};

use crate::fields::FieldSet;
use crate::managed::{Managed, Manager, Operation};

pub use apply::{ApplyError, apply};
pub use conflict::Conflict;
pub use track::{UPDATE_MANAGERS_MAX, track_update};

/// Who writes, how and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// `apiVersion` of the request.
    pub api_version: &'a str,
    /// The subresource written through; empty for the object itself.
    pub subresource: &'a str,
    /// The time, RFC 3339 in whole seconds.
    pub now: &'a str,
    /// Fields that this writer cannot set and so never owns: `status` for the
    /// object itself, `spec` for its status.
    pub reset: &'a FieldSet,
}

impl Writer<'_> {
    pub(crate) fn manager(&self, operation: Operation) -> Manager {
        let name = if self.manager.is_empty() {
            "unknown"
        } else {
            self.manager
        };
        let api_version = match operation {
            Operation::Apply => String::new(),
            Operation::Update => self.api_version.to_owned(),
        };
        Manager {
            name: name.to_owned(),
            operation,
            api_version,
            subresource: self.subresource.to_owned(),
        }
    }
}

/// The object that a create starts from: what the type shows of nothing.
#[must_use]
pub fn empty_object(node: Node<'_>, api_version: &str, kind: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind});
    if let Some(ty) = node.type_ref() {
        normal::normalise(ty, &mut object);
    }
    object
}

/// Fields that nobody owns: identity, and what the server itself writes.
pub(crate) fn never_owned() -> FieldSet {
    FieldSet::of_members(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

pub(crate) fn drop_empty(managed: &mut Managed) {
    managed.retain(|_, owned| !owned.fields.is_empty());
}

/// Takes what nobody owns out of one manager's fields.
pub(crate) fn strip_owned(managed: &mut Managed, manager: &Manager) {
    if let Some(owned) = managed.get_mut(manager) {
        owned.fields = owned.fields.difference(&never_owned());
        if owned.fields.is_empty() {
            managed.remove(manager);
        }
    }
}

//! What a reconciler decided: data, to be compared in tests and applied by the executor.

use kontiki_client::{DeleteOptions, EventType, Preconditions, PropagationPolicy};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Value, same, same_trees};
use std::time::Duration;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates an object.
    Create {
        /// Of what.
        resource: GroupVersionResource,
        /// Where; empty for cluster scope.
        namespace: String,
        /// The object.
        body: Value,
    },
    /// Replaces an object or a subresource of it, guarded by its version.
    Update {
        /// Of what.
        resource: GroupVersionResource,
        /// `status`, `approval`, `finalize`, or `None` for the object itself.
        subresource: Option<&'static str>,
        /// The object.
        body: Value,
    },
    /// Merges into an object or its status.
    Patch {
        /// Of what.
        resource: GroupVersionResource,
        /// Where; empty for cluster scope.
        namespace: String,
        /// Which.
        name: String,
        /// Whether the status subresource is meant.
        status: bool,
        /// A JSON merge patch.
        patch: Value,
    },
    /// Takes a controller-less object over, if the owner still lives.
    Adopt {
        /// The owner's resource.
        owner_resource: GroupVersionResource,
        /// The owner.
        owner: SharedObject,
        /// The object's resource.
        resource: GroupVersionResource,
        /// The object's name; its namespace is the owner's.
        name: String,
        /// A JSON merge patch.
        patch: Value,
    },
    /// Deletes an object.
    Delete {
        /// Of what.
        resource: GroupVersionResource,
        /// Where; empty for cluster scope.
        namespace: String,
        /// Which.
        name: String,
        /// How.
        options: DeleteOptions,
    },
    /// Deletes every object of a resource in a namespace.
    DeleteCollection {
        /// Of what.
        resource: GroupVersionResource,
        /// Where.
        namespace: String,
    },
}

impl Action {
    /// Creates an object in a namespace (empty for cluster scope).
    #[must_use]
    pub fn create(resource: &GroupVersionResource, namespace: &str, body: Value) -> Self {
        Self::Create {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            body,
        }
    }

    /// An update, unless `body` means what is known already. What is known came
    /// through the server, which leaves empty fields out.
    #[must_use]
    pub fn change(resource: &GroupVersionResource, known: &Object, body: Value) -> Option<Self> {
        let unchanged = body
            .as_object()
            .is_some_and(|tree| same_trees(tree, known.tree()));
        (!unchanged).then(|| Self::update(resource, body))
    }

    /// Replaces an object.
    #[must_use]
    pub fn update(resource: &GroupVersionResource, body: Value) -> Self {
        Self::Update {
            resource: resource.clone(),
            subresource: None,
            body,
        }
    }

    /// Replaces an object's status by another one, unless it is that already.
    #[must_use]
    pub fn status(resource: &GroupVersionResource, object: &Object, status: Value) -> Option<Self> {
        let status = without_nulls(status);
        if same(object.get(&["status"]), Some(&status)) {
            return None;
        }
        let mut body = object.to_value();
        body["status"] = status;
        Some(Self::Update {
            resource: resource.clone(),
            subresource: Some("status"),
            body,
        })
    }

    /// Merges into an object.
    #[must_use]
    pub fn patch(resource: &GroupVersionResource, object: &Object, patch: Value) -> Self {
        Self::Patch {
            resource: resource.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            status: false,
            patch,
        }
    }

    /// Deletes this very object, its dependents afterwards.
    #[must_use]
    pub fn delete(resource: &GroupVersionResource, object: &Object) -> Self {
        Self::delete_with(
            resource,
            object,
            DeleteOptions {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteOptions::default()
            },
        )
    }

    /// Deletes this very object; the UID precondition is added.
    #[must_use]
    pub fn delete_with(
        resource: &GroupVersionResource,
        object: &Object,
        mut options: DeleteOptions,
    ) -> Self {
        options.preconditions = Preconditions {
            uid: Some(object.uid().to_owned()),
            ..options.preconditions
        };
        Self::Delete {
            resource: resource.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            options,
        }
    }
}

/// An event to record once the actions are done.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedEvent {
    /// About which object.
    pub about: SharedObject,
    /// Normal or warning.
    pub kind: EventType,
    /// Why, as one word.
    pub reason: &'static str,
    /// What, for people.
    pub message: String,
}

/// What a reconciler decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes, in order. Neighbouring creations and neighbouring deletions
    /// are done together.
    pub actions: Vec<Action>,
    /// The object about which the creation and deletion of *pods* is told.
    pub report: Option<SharedObject>,
    /// Further events, told when every action has succeeded.
    pub events: Vec<PlannedEvent>,
    /// Reconcile again after this time, whatever happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// Nothing to do.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Just these writes.
    #[must_use]
    pub fn of(actions: impl IntoIterator<Item = Action>) -> Self {
        Self {
            actions: actions.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds an event.
    pub fn event(
        &mut self,
        about: &SharedObject,
        kind: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.events.push(PlannedEvent {
            about: about.clone(),
            kind,
            reason,
            message: message.into(),
        });
    }

    /// Asks to be called again after a time; the earliest wish counts.
    pub fn requeue(&mut self, after: Duration) {
        let earliest = self.requeue_after.map_or(after, |known| known.min(after));
        self.requeue_after = Some(earliest);
    }
}

/// A tree without the fields that are null: how a server keeps it.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(field, value)| (field, without_nulls(value)))
            .collect::<kontiki_object::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

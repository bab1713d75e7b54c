//! `core/v1` `Event`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::core::event_checks;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{text, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        ttl_seconds: Some(3600),
        short_names: texts(&["ev"]),
        selectable_fields: selectable(),
        strategy: Rules {
            create_on_update: true,
            validate: |object| event_checks::of_either(object, "reportingComponent"),
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "Event", "events")
    }
}

fn selectable() -> Vec<SelectableField> {
    vec![
        SelectableField::new("involvedObject.kind", |e| {
            text_at(e, &["involvedObject", "kind"]).into()
        }),
        SelectableField::new("involvedObject.namespace", |e| {
            text_at(e, &["involvedObject", "namespace"]).into()
        }),
        SelectableField::new("involvedObject.name", |e| {
            text_at(e, &["involvedObject", "name"]).into()
        }),
        SelectableField::new("involvedObject.uid", |e| {
            text_at(e, &["involvedObject", "uid"]).into()
        }),
        SelectableField::new("involvedObject.apiVersion", |e| {
            text_at(e, &["involvedObject", "apiVersion"]).into()
        }),
        SelectableField::new("involvedObject.resourceVersion", |e| {
            text_at(e, &["involvedObject", "resourceVersion"]).into()
        }),
        SelectableField::new("involvedObject.fieldPath", |e| {
            text_at(e, &["involvedObject", "fieldPath"]).into()
        }),
        SelectableField::new("reason", |e| text(e, "reason").into()),
        SelectableField::new("reportingComponent", |e| {
            text(e, "reportingComponent").into()
        }),
        SelectableField::new("source", |e| {
            let component = text_at(e, &["source", "component"]);
            if component.is_empty() {
                text(e, "reportingComponent")
            } else {
                component
            }
            .into()
        }),
        SelectableField::new("type", |e| text(e, "type").into()),
    ]
}

/// Names that the two forms of an event give to the same field.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(
    object: &mut Tree,
    api_version: &str,
    pairs: impl Iterator<Item = (&'static str, &'static str)>,
) {
    for (from, to) in pairs {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
    object.insert("apiVersion".into(), api_version.into());
}

/// From core's form to that of `events.k8s.io`.
pub(crate) fn to_events(object: &mut Tree) {
    rename(object, "events.k8s.io/v1", RENAMED.into_iter());
    // Core always tells these two.
    for field in ["reportingController", "reportingInstance"] {
        if text(object, field).is_empty() {
            object.remove(field);
        }
    }
}

/// From the form of `events.k8s.io` to core's.
pub(crate) fn from_events(object: &mut Tree) {
    rename(
        object,
        "v1",
        RENAMED.into_iter().map(|(core, events)| (events, core)),
    );
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("Last Seen", "string", "The time at which the most recent occurrence of this event was recorded.", cells::last_seen),
        Column::new("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future", |o, _| text_at(o, &["type"]).into()),
        Column::new("Reason", "string", "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.", |o, _| text_at(o, &["reason"]).into()),
        Column::new("Object", "string", "The object that this event is about.", |o, _| cells::event_object(o, "involvedObject")),
        Column::new("Subobject", "string", "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.", |o, _| text_at(o, &["involvedObject", "fieldPath"]).into()).wide(),
        Column::new("Source", "string", "The component reporting this event. Should be a short machine understandable string.", |o, _| cells::event_source(o, "source", "reportingComponent")).wide(),
        Column::new("Message", "string", "A human-readable description of the status of this operation.", |o, _| text_at(o, &["message"]).trim().into()),
        Column::new("First Seen", "string", "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)", cells::first_seen).wide(),
        Column::new("Count", "string", "The number of times this event has occurred.", |o, _| cells::event_count(o)).wide(),
        Column::name().wide(),
    ]
}

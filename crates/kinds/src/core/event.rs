//! `core/v1` `Event`.

use crate::Kind;
use crate::Tree;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::tree::{text, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        ttl_seconds: Some(3600),
        short_names: texts(&["ev"]),
        selectable_fields: selectable(),
        strategy: Rules {
            create_on_update: true,
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
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
}

/// From the form of `events.k8s.io` to core's.
pub(crate) fn from_events(object: &mut Tree) {
    rename(
        object,
        "v1",
        RENAMED.into_iter().map(|(core, events)| (events, core)),
    );
}

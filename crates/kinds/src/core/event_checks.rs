//! Validation of events, in core's form. Events of core are what clients always
//! sent; those of `events.k8s.io` follow stricter rules.

use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::names;
use crate::view::{View, named};

const TEXT_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// What holds for both versions; `reporter` is what one's field is called.
pub(crate) fn of_either(object: &Tree, reporter: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let event = View::new(object, Path::root());
    let namespace = View::of(object, "metadata").text("namespace");
    let about = View::of(object, "involvedObject");
    let of_object = about.text("namespace");
    let agree = match of_object {
        "" if event.has("eventTime") => matches!(namespace, "" | "default" | "kube-system"),
        "" => matches!(namespace, "" | "default"),
        own => own == namespace,
    };
    if !agree {
        let why = "does not match event.namespace";
        let path = about.at("namespace");
        errors.push(FieldError::invalid(&path, of_object, why));
    }
    if event.has("eventTime") {
        new_style(&mut errors, &event, reporter);
    }
    if !namespace.is_empty() {
        let path = Path::new("namespace");
        named(&mut errors, &path, namespace, names::is_dns1123_subdomain);
    }
    errors
}

/// Events that say when they happened say who reports them and what was done.
fn new_style(errors: &mut FieldErrors, event: &View<'_>, reporter: &str) {
    let controller = event.text("reportingComponent");
    let path = Path::new(reporter);
    if controller.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    named(errors, &path, controller, names::is_qualified_name);
    for (field, shown) in [
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ] {
        let length = event.text(field).len();
        if length == 0 {
            errors.push(FieldError::required(&Path::new(shown), ""));
        } else if length > TEXT_MAX {
            let why = format!("can have at most {TEXT_MAX} characters");
            errors.push(FieldError::invalid(&Path::new(shown), "", why));
        }
    }
    if event.text("message").len() > MESSAGE_MAX {
        let why = format!("can have at most {MESSAGE_MAX} characters");
        errors.push(FieldError::invalid(&Path::new("message"), "", why));
    }
}

fn series(errors: &mut FieldErrors, event: &View<'_>) {
    let Some(series) = event.map("series") else {
        return;
    };
    if series.number("count").unwrap_or_default() < 2 {
        let path = Path::new("series.count");
        errors.push(FieldError::invalid(&path, "", "should be at least 2"));
    }
    if !series.has("lastObservedTime") {
        let path = Path::new("series.lastObservedTime");
        errors.push(FieldError::required(&path, ""));
    }
}

/// What a new event of `events.k8s.io` must be.
pub(crate) fn create(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let event = View::new(object, Path::root());
    series(&mut errors, &event);
    if !event.has("eventTime") {
        errors.push(FieldError::required(&Path::new("eventTime"), ""));
    }
    let kind = event.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid(&Path::new("type"), "", why));
    }
    let source = event.inner("source");
    let has_source = !source.text("component").is_empty() || !source.text("host").is_empty();
    for (field, is_set) in [
        ("firstTimestamp", event.has("firstTimestamp")),
        ("lastTimestamp", event.has("lastTimestamp")),
        ("count", event.number("count").unwrap_or_default() != 0),
        ("source", has_source),
    ] {
        if is_set {
            let path = Path::new(field);
            errors.push(FieldError::invalid(&path, "", "needs to be unset"));
        }
    }
    errors
}

const FIXED: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

/// An event of `events.k8s.io` changes in nothing but its series.
pub(crate) fn update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let event = View::new(new, Path::root());
    if !meta::same(new.get("series"), old.get("series")) {
        series(&mut errors, &event);
    }
    for field in FIXED {
        let shown = match field {
            "reportingComponent" => "reportingController",
            other => other,
        };
        let path = Path::new(shown);
        errors.extend(meta::immutable(new.get(field), old.get(field), &path));
    }
    errors
}

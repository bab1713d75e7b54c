//! CustomResourceDefinitions: what is wrong with one, and what happens to one
//! on a write.
//!
//! Upstream validates an internal form in which whatever all versions share
//! stands at the top (`spec.validation`); paths of complaints show it.

mod internal;
mod names;
mod schema;
mod version;

use crate::schema::Structural;
use kontiki_kinds::{
    Context, DeleteOptions, FieldError, FieldErrors, GarbageCollection, Grace, NameRule, Path,
    Strategy, Tree,
};
use kontiki_object::Value;
use std::sync::Arc;

const APPROVAL: &str = "api-approved.kubernetes.io";
/// The finalizer that waits until the objects of a definition are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A strategy that does what `inner` does and validates.
#[must_use]
pub fn strategy(inner: Arc<dyn Strategy>) -> Arc<dyn Strategy> {
    Arc::new(Definition { inner })
}

struct Definition {
    inner: Arc<dyn Strategy>,
}

/// The text of a condition's status; empty if there is none.
#[must_use]
pub fn condition<'a>(object: &'a Tree, ty: &str) -> &'a str {
    let conditions = object
        .get("status")
        .and_then(|status| status.get("conditions"));
    conditions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == ty)
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
}

impl Strategy for Definition {
    fn name_rule(&self) -> NameRule {
        self.inner.name_rule()
    }

    fn counts_generation(&self) -> bool {
        self.inner.counts_generation()
    }

    fn changes_generation(&self, new: &Tree, old: &Tree) -> bool {
        self.inner.changes_generation(new, old)
    }

    fn prepare_for_create(&self, context: &Context<'_>, object: &mut Tree) {
        self.inner.prepare_for_create(context, object);
        drop_false_preserve(object);
    }

    fn prepare_for_update(&self, context: &Context<'_>, new: &mut Tree, old: &Tree) {
        self.inner.prepare_for_update(context, new, old);
        drop_false_preserve(new);
        remember_stored_version(new);
    }

    fn prepare_for_status_update(&self, context: &Context<'_>, new: &mut Tree, old: &Tree) {
        self.inner.prepare_for_status_update(context, new, old);
    }

    fn validate(&self, context: &Context<'_>, object: &Tree) -> FieldErrors {
        let mut errors = self.inner.validate(context, object);
        let spec = spec(object);
        let name = text(object.get("metadata"), "name");
        let wanted = format!(
            "{}.{}",
            text(Some(&spec["names"]), "plural"),
            text(Some(spec), "group")
        );
        if name != wanted {
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::invalid(
                &path,
                name,
                "must be spec.names.plural+\".\"+spec.group",
            ));
        }
        errors.extend(version::spec(spec));
        errors.extend(status(object));
        errors.extend(approval(object));
        if spec["preserveUnknownFields"] == true {
            errors.push(FieldError::invalid(
                &Path::new("spec").child("preserveUnknownFields"),
                true,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            ));
        }
        errors
    }

    fn validate_update(&self, _: &Context<'_>, new: &Tree, old: &Tree) -> FieldErrors {
        let (spec_new, spec_old) = (spec(new), spec(old));
        // What is stored already was valid when it came.
        let mut errors = if spec_new == spec_old {
            FieldErrors::new()
        } else {
            version::spec(spec_new)
        };
        let path = Path::new("spec");
        let mut immutable = |new: &Value, old: &Value, path: Path| {
            if new != old {
                let new = new.as_str().unwrap_or_default();
                errors.push(FieldError::invalid(&path, new, "field is immutable"));
            }
        };
        if condition(old, "Established") == "True" {
            immutable(&spec_new["scope"], &spec_old["scope"], path.child("scope"));
            let kind = path.child("names").child("kind");
            let (new, old) = (&spec_new["names"]["kind"], &spec_old["names"]["kind"]);
            immutable(new, old, kind);
        }
        immutable(&spec_new["group"], &spec_old["group"], path.child("group"));
        let plural = path.child("names").child("plural");
        let (own, before) = (&spec_new["names"]["plural"], &spec_old["names"]["plural"]);
        immutable(own, before, plural);
        errors.extend(status(new));
        errors.extend(approval(new));
        if spec_new["preserveUnknownFields"] == true && spec_old["preserveUnknownFields"] != true {
            errors.push(FieldError::invalid(
                &path.child("preserveUnknownFields"),
                true,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            ));
        }
        errors
    }

    fn validate_status_update(&self, _: &Context<'_>, new: &Tree, _: &Tree) -> FieldErrors {
        status(new)
    }

    fn warnings(&self, new: &Tree, old: Option<&Tree>) -> Vec<String> {
        self.inner.warnings(new, old)
    }

    fn allows_create_on_update(&self) -> bool {
        self.inner.allows_create_on_update()
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn grace(&self, object: &Tree, options: DeleteOptions) -> Grace {
        self.inner.grace(object, options)
    }

    fn mark_deleted(&self, context: &Context<'_>, object: &mut Tree) -> bool {
        mark_deleted(context, object);
        true
    }

    fn garbage_collection(&self) -> GarbageCollection {
        self.inner.garbage_collection()
    }
}

fn spec(object: &Tree) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

fn text<'a>(value: Option<&'a Value>, name: &str) -> &'a str {
    value
        .and_then(|value| value.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `false` is how it is when it is not set.
fn drop_false_preserve(object: &mut Tree) {
    if let Some(Value::Object(spec)) = object.get_mut("spec")
        && spec.get("preserveUnknownFields") == Some(&Value::Bool(false))
    {
        spec.remove("preserveUnknownFields");
    }
}

/// A version that becomes the storage version may be stored from now on.
fn remember_stored_version(object: &mut Tree) {
    let stored = spec(object)["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    let Some(stored) = stored else {
        return;
    };
    let status = object
        .entry("status")
        .or_insert_with(|| Value::Object(Tree::new()));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    let versions = status
        .entry("storedVersions")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(versions) = versions.as_array_mut()
        && !versions.contains(&stored)
    {
        versions.push(stored);
    }
}

/// A definition waits until its objects are gone.
fn mark_deleted(context: &Context<'_>, object: &mut Tree) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if metadata.contains_key("deletionTimestamp") {
        return;
    }
    let now = kontiki_object::time::format(context.now);
    metadata.insert("deletionTimestamp".to_owned(), now.clone().into());
    let finalizers = metadata
        .entry("finalizers")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|name| name == CLEANUP_FINALIZER)
    {
        finalizers.push(CLEANUP_FINALIZER.into());
    }
    let condition = Condition {
        ty: "Terminating",
        status: "True",
        reason: "InstanceDeletionPending",
        message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    };
    set_condition(object, &condition, &now);
}

/// A condition to be set.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// Its type.
    pub ty: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// One word.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

/// Sets a condition; one that says the same already keeps its time.
pub fn set_condition(object: &mut Tree, condition: &Condition<'_>, now: &str) {
    let status = object
        .entry("status")
        .or_insert_with(|| Value::Object(Tree::new()));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    let conditions = status.entry("conditions").or_insert(Value::Null);
    if !conditions.is_array() {
        *conditions = Value::Array(Vec::new());
    }
    let conditions = conditions.as_array_mut().expect("was made a list just now");
    let existing = conditions
        .iter_mut()
        .find(|known| known["type"] == condition.ty);
    let since = match &existing {
        Some(known) if known["status"] == condition.status => known["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    let value = serde_json::json!({
        "type": condition.ty, "status": condition.status, "reason": condition.reason,
        "message": condition.message, "lastTransitionTime": since,
    });
    match existing {
        Some(known) => *known = value,
        None => conditions.push(value),
    }
}

fn status(object: &Tree) -> FieldErrors {
    let path = Path::new("status");
    let status = object.get("status").unwrap_or(&Value::Null);
    let mut errors = names::validate(&status["acceptedNames"], &path.child("acceptedNames"));
    let path = path.child("storedVersions");
    let stored = status["storedVersions"].as_array();
    let Some(stored) = stored.filter(|stored| !stored.is_empty()) else {
        let why = "must have at least one stored version";
        errors.push(FieldError::invalid(&path, Value::Null, why));
        return errors;
    };
    let versions = spec(object)["versions"].as_array();
    let versions = || versions.into_iter().flatten();
    for (at, name) in stored.iter().enumerate() {
        if !versions().any(|version| version["name"] == *name) {
            let why = "must appear in spec.versions";
            errors.push(FieldError::invalid(&path.index(at), name.clone(), why));
        }
    }
    let current = versions().find(|version| version["storage"] == true);
    if let Some(current) = current
        && !stored.contains(&current["name"])
    {
        let name = current["name"].as_str().unwrap_or_default();
        let why = format!("must have the storage version {name}");
        errors.push(FieldError::invalid(&path, stored.clone(), why));
    }
    errors
}

/// Groups of the project need its approval.
fn approval(object: &Tree) -> FieldErrors {
    let group = text(Some(spec(object)), "group");
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.ends_with(&format!(".{own}")));
    if !is_protected {
        return FieldErrors::new();
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    let annotations = object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let given = text(annotations, APPROVAL);
    if given.is_empty() {
        let why = format!(
            "protected groups must have approval annotation \"{APPROVAL}\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        return vec![FieldError::required(&path, why)];
    }
    let is_url = given.contains("://") && !given.contains(char::is_whitespace);
    if is_url || given.starts_with("unapproved") {
        return FieldErrors::new();
    }
    let why = format!(
        "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
    );
    vec![FieldError::invalid(&path, given, why)]
}

/// The parsed schema of a version, by its entry in `spec.versions`.
#[must_use]
pub fn schema_of(version: &Value) -> Structural {
    Structural::parse(&version["schema"]["openAPIV3Schema"])
}

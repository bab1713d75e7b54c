//! Validation of `metadata`, the same for every kind.

use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::names;
use crate::strategy::NameRule;
use kontiki_object::Value;
pub use kontiki_object::same;

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const FIELD_MANAGER_BYTES_MAX: usize = 128;

fn text<'a>(tree: &'a Value, field: &str) -> &'a str {
    tree.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(tree: &'a Value, field: &str) -> &'a [Value] {
    tree.get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Complaints about the metadata of a new or changed object.
#[must_use]
pub fn validate(object: &Tree, namespaced: bool, rule: NameRule, path: &Path) -> FieldErrors {
    let empty = Value::Object(Tree::new());
    let meta = object.get("metadata").unwrap_or(&empty);
    validate_metadata(meta, namespaced, rule, path)
}

/// The same for `metadata` itself.
#[must_use]
pub fn validate_metadata(
    meta: &Value,
    namespaced: bool,
    rule: NameRule,
    path: &Path,
) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (field, prefix) in [("generateName", true), ("name", false)] {
        let name = text(meta, field);
        let at = path.child(field);
        if !name.is_empty() {
            let texts = rule(name, prefix).into_iter();
            errors.extend(texts.map(|text| FieldError::invalid(&at, name, text)));
        } else if !prefix {
            let why = "name or generateName is required";
            errors.push(FieldError::required(&at, why));
        }
    }
    validate_common(meta, namespaced, path, &mut errors);
    errors
}

fn validate_common(meta: &Value, namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    let namespace = text(meta, "namespace");
    let at = path.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required(&at, "")),
        (true, false) => errors.extend(
            names::dns_label(namespace, false)
                .into_iter()
                .map(|text| FieldError::invalid(&at, namespace, text)),
        ),
        (false, false) => errors.push(FieldError::forbidden(&at, "not allowed on this type")),
        (false, true) => {}
    }
    let generation = meta
        .get("generation")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    if generation < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(
            &path.child("generation"),
            generation,
            why,
        ));
    }
    errors.extend(validate_labels(meta.get("labels"), &path.child("labels")));
    errors.extend(validate_annotations(
        meta.get("annotations"),
        &path.child("annotations"),
    ));
    validate_owner_references(
        list(meta, "ownerReferences"),
        &path.child("ownerReferences"),
        errors,
    );
    validate_finalizers(list(meta, "finalizers"), &path.child("finalizers"), errors);
    validate_managed_fields(
        list(meta, "managedFields"),
        &path.child("managedFields"),
        errors,
    );
}

/// Complaints about label keys and values.
#[must_use]
pub fn validate_labels(labels: Option<&Value>, path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(validate_label_name(key, path));
        let value = value.as_str().unwrap_or_default();
        for text in names::is_label_value(value) {
            errors.push(FieldError::invalid(path, value, text));
        }
    }
    errors
}

/// Complaints about one label key.
#[must_use]
pub fn validate_label_name(key: &str, path: &Path) -> FieldErrors {
    names::is_qualified_name(key)
        .into_iter()
        .map(|text| FieldError::invalid(path, key, text))
        .collect()
}

/// Complaints about annotation keys and the size of all annotations.
#[must_use]
pub fn validate_annotations(annotations: Option<&Value>, path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        for text in names::is_qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key.as_str(), text));
        }
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

fn validate_owner_references(owners: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let api_version = text(owner, "apiVersion");
        let version = api_version.rsplit('/').next().unwrap_or_default();
        for (field, value, why) in [
            ("apiVersion", version, "version must not be empty"),
            ("kind", text(owner, "kind"), "must not be empty"),
            ("name", text(owner, "name"), "must not be empty"),
            ("uid", text(owner, "uid"), "must not be empty"),
        ] {
            if value.is_empty() {
                errors.push(FieldError::invalid(
                    &path.child(field),
                    text(owner, field),
                    why,
                ));
            }
        }
        if api_version == "v1" && text(owner, "kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, owner.clone(), why));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    );
                    errors.push(FieldError::invalid(path, owners.to_vec(), why));
                }
            }
        }
    }
}

fn validate_finalizers(finalizers: &[Value], path: &Path, errors: &mut FieldErrors) {
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        for text in names::is_qualified_name(finalizer) {
            errors.push(FieldError::invalid(path, finalizer, text));
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, finalizers.to_vec(), why));
    }
}

/// Complaints about a finalizer that has no domain and is not Kubernetes' own.
#[must_use]
pub fn validate_standard_finalizer(name: &str, path: &Path) -> FieldErrors {
    let is_known = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
    if name.contains('/') || is_known {
        return FieldErrors::new();
    }
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    vec![FieldError::invalid(path, name, why)]
}

/// The same for every finalizer of an object.
#[must_use]
pub fn validate_standard_finalizers(object: &Tree, path: &Path) -> FieldErrors {
    let empty = Value::Null;
    let meta = object.get("metadata").unwrap_or(&empty);
    let path = path.child("finalizers");
    let all = list(meta, "finalizers").iter().filter_map(Value::as_str);
    all.enumerate()
        .flat_map(|(index, name)| validate_standard_finalizer(name, &path.index(index)))
        .collect()
}

fn validate_managed_fields(entries: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            let why = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(
                &path.child("operation"),
                operation,
                why,
            ));
        }
        let fields_type = text(entry, "fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            let why = "must be `FieldsV1`";
            errors.push(FieldError::invalid(
                &path.child("fieldsType"),
                fields_type,
                why,
            ));
        }
        errors.extend(validate_field_manager(
            text(entry, "manager"),
            &path.child("manager"),
        ));
        if text(entry, "subresource").len() > 256 {
            errors.push(FieldError::too_long(&path.child("subresource"), 256));
        }
    }
}

/// Complaints about the name of a field manager.
#[must_use]
pub fn validate_field_manager(manager: &str, path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(path, FIELD_MANAGER_BYTES_MAX));
    }
    for (at, c) in manager.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            let why = format!(
                "invalid character U+{:04X} (at position {at})",
                u32::from(c)
            );
            errors.push(FieldError::invalid(path, manager, why));
        }
    }
    errors
}

/// Complaints about how metadata changed.
#[must_use]
pub fn validate_update(new: &Tree, old: &Tree, path: &Path) -> FieldErrors {
    let empty = Value::Object(Tree::new());
    let new = new.get("metadata").unwrap_or(&empty);
    let old = old.get("metadata").unwrap_or(&empty);
    let mut errors = FieldErrors::new();
    if old.get("deletionTimestamp").is_some() {
        refuse_new_finalizers(new, old, &path.child("finalizers"), &mut errors);
    }
    if text(new, "resourceVersion").is_empty() {
        let why = "must be specified for an update";
        errors.push(FieldError::invalid(&path.child("resourceVersion"), "", why));
    }
    let number = |meta: &Value| {
        meta.get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    if number(new) < number(old) {
        let why = "must not be decremented";
        errors.push(FieldError::invalid(
            &path.child("generation"),
            number(new),
            why,
        ));
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        errors.extend(immutable(
            new.get(field),
            old.get(field),
            &path.child(field),
        ));
    }
    errors.extend(validate_labels(new.get("labels"), &path.child("labels")));
    errors.extend(validate_annotations(
        new.get("annotations"),
        &path.child("annotations"),
    ));
    validate_owner_references(
        list(new, "ownerReferences"),
        &path.child("ownerReferences"),
        &mut errors,
    );
    validate_managed_fields(
        list(new, "managedFields"),
        &path.child("managedFields"),
        &mut errors,
    );
    errors
}

fn refuse_new_finalizers(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let before = list(old, "finalizers");
    let mut added: Vec<String> = list(new, "finalizers")
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .map(ToString::to_string)
        .collect();
    if added.is_empty() {
        return;
    }
    added.sort();
    added.dedup();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    errors.push(FieldError::forbidden(path, why));
}

/// A complaint if a field changed that must not.
#[must_use]
pub fn immutable(new: Option<&Value>, old: Option<&Value>, path: &Path) -> Option<FieldError> {
    (!same(new, old)).then(|| {
        let shown = new.cloned().unwrap_or(Value::Null);
        FieldError::invalid(path, shown, "field is immutable")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints(meta: Value, namespaced: bool) -> Vec<String> {
        let path = Path::new("metadata");
        validate_metadata(&meta, namespaced, names::dns_subdomain, &path)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn metadata_is_checked_field_by_field() {
        for (meta, namespaced, expected) in [
            (json!({"name": "a", "namespace": "b"}), true, vec![]),
            (json!({"name": "a"}), false, vec![]),
            (
                json!({}),
                false,
                vec!["metadata.name: Required value: name or generateName is required"],
            ),
            (
                json!({"name": "a"}),
                true,
                vec!["metadata.namespace: Required value"],
            ),
            (
                json!({"name": "a", "namespace": "b"}),
                false,
                vec!["metadata.namespace: Forbidden: not allowed on this type"],
            ),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                false,
                vec!["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
            ),
            (
                json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}),
                false,
                vec![
                    "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
                ],
            ),
        ] {
            assert_eq!(complaints(meta.clone(), namespaced), expected, "{meta}");
        }
    }

    #[test]
    fn what_identifies_an_object_never_changes() {
        let tree = |value: Value| value.as_object().expect("a map").clone();
        let old = tree(json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}}));
        let new = tree(json!({"metadata": {"name": "a", "uid": "v", "resourceVersion": "1"}}));
        let path = Path::new("metadata");
        assert_eq!(
            validate_update(&new, &old, &path)[0].to_string(),
            "metadata.uid: Invalid value: \"v\": field is immutable"
        );
        assert!(validate_update(&old, &old, &path).is_empty());
    }
}

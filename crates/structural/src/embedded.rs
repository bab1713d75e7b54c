//! Embedded objects: their metadata is typed, and they say what they are.

use crate::schema::{Additional, Structural};
use kontiki_kinds::{FieldError, FieldErrors, Path, meta, names};
use kontiki_object::Value;
use kontiki_schema::{Schema, normal, strict};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Brings metadata into its served form.
///
/// # Errors
/// What does not fit, in the words of Go's decoder.
pub fn shape_metadata(metadata: &mut Value) -> Result<(), String> {
    let ty = Schema::get()
        .type_by_name(OBJECT_META)
        .expect("the table has ObjectMeta");
    if let Some(problem) = strict::check_types(ty, metadata) {
        return Err(problem);
    }
    normal::normalise(ty, metadata);
    Ok(())
}

/// Brings the metadata of embedded objects into shape; the whole object's own
/// is the caller's.
///
/// # Errors
/// The first that does not fit.
pub fn shape(schema: &Structural, value: &mut Value) -> Result<(), FieldError> {
    walk(schema, value, &Path::root(), true)
}

fn walk(
    schema: &Structural,
    value: &mut Value,
    path: &Path,
    is_root: bool,
) -> Result<(), FieldError> {
    match value {
        Value::Object(members) => {
            if schema.is_embedded
                && !is_root
                && let Some(metadata) = members.get_mut("metadata")
            {
                let before = metadata.clone();
                shape_metadata(metadata).map_err(|problem| {
                    FieldError::invalid(&path.child("metadata"), before, problem)
                })?;
            }
            for (name, value) in members {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(inner), _) => walk(inner, value, &path.child(name), false)?,
                    (None, Additional::Schema(inner)) => {
                        walk(inner, value, &path.key(name), false)?;
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (at, item) in items.iter_mut().enumerate() {
                    walk(inner, item, &path.index(at), false)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Complaints about embedded objects.
#[must_use]
pub fn validate(schema: &Structural, value: &Value) -> FieldErrors {
    let mut out = FieldErrors::new();
    check(schema, value, &Path::root(), true, &mut out);
    out
}

fn check(schema: &Structural, value: &Value, path: &Path, is_root: bool, out: &mut FieldErrors) {
    match value {
        Value::Object(members) => {
            if schema.is_embedded && !is_root {
                check_one(value, path, out);
            }
            for (name, value) in members {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(inner), _) => check(inner, value, &path.child(name), false, out),
                    (None, Additional::Schema(inner)) => {
                        check(inner, value, &path.key(name), false, out);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    check(inner, item, &path.index(at), false, out);
                }
            }
        }
        _ => {}
    }
}

fn check_one(value: &Value, path: &Path, out: &mut FieldErrors) {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        out.push(FieldError::required(&path.child("apiVersion"), ""));
    } else if api_version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        let at = path.child("apiVersion");
        out.push(FieldError::invalid(&at, api_version, why));
    }
    let kind = text("kind");
    if kind.is_empty() {
        out.push(FieldError::required(&path.child("kind"), ""));
    } else {
        let problems = names::is_dns1035_label(&kind.to_lowercase());
        if !problems.is_empty() {
            let why = format!(
                "may have mixed case, but should otherwise match: {}",
                problems.join(",")
            );
            out.push(FieldError::invalid(&path.child("kind"), kind, why));
        }
    }
    if let Some(metadata) = value.get("metadata").filter(|value| value.is_object()) {
        let at = path.child("metadata");
        out.extend(meta::validate_labels(
            metadata.get("labels"),
            &at.child("labels"),
        ));
        let annotations = metadata.get("annotations");
        out.extend(meta::validate_annotations(
            annotations,
            &at.child("annotations"),
        ));
    }
}

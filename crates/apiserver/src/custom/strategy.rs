//! What happens to custom objects on writes.

use kontiki_kinds::strategy::{keep, keep_all_but};
use kontiki_kinds::{Context, FieldError, FieldErrors, ScalePaths, Strategy, Tree, meta};
use kontiki_kinds::{ErrorKind, Path};
use kontiki_object::Value;
use kontiki_structural::{Structural, embedded, lists, rules, validate};
use std::sync::Arc;

/// The strategy of one version of one definition.
pub struct CustomStrategy {
    /// The schema.
    pub structural: Arc<Structural>,
    /// Whether the status is a subresource.
    pub has_status: bool,
    /// Where `scale` finds its numbers.
    pub scale: Option<ScalePaths>,
}

impl CustomStrategy {
    fn check(&self, object: &Tree, old: Option<&Tree>) -> FieldErrors {
        let value = Value::Object(object.clone());
        let old = old.map(|old| Value::Object(old.clone()));
        let old = old.as_ref();
        let mut errors = validate::object(&self.structural, &value, old);
        errors.extend(self.check_scale(object));
        errors.extend(lists::duplicates(&self.structural, &value, old));
        errors.extend(embedded::validate(&self.structural, &value));
        if !self.structural.has_rules() {
            return errors;
        }
        // Values of a wrong type or without bounds are no subject for rules.
        if errors.iter().any(validate::blocks_rules) {
            errors.push(FieldError {
                kind: ErrorKind::Invalid,
                field: "<nil>".to_owned(),
                message: "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation".to_owned(),
            });
            return errors;
        }
        errors.extend(rules::evaluate(&self.structural, &value, old));
        errors
    }

    /// Replicas fit into `Scale`, whose numbers are small and not negative.
    fn check_scale(&self, object: &Tree) -> FieldErrors {
        let Some(scale) = &self.scale else {
            return FieldErrors::new();
        };
        let mut errors = FieldErrors::new();
        for path in [&scale.spec_replicas, &scale.status_replicas] {
            let Some(value) = at(object, path).and_then(Value::as_i64) else {
                continue;
            };
            let place = Path::new(&format!(".{}", path.join(".")));
            if value < 0 {
                let why = "should be a non-negative integer";
                errors.push(FieldError::invalid(&place, value, why));
            } else if value > i64::from(i32::MAX) {
                let why = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(&place, value, why));
            }
        }
        errors
    }
}

/// A value some levels down.
pub(crate) fn at<'a>(object: &'a Tree, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let first = object.get(first)?;
    rest.iter().try_fold(first, |value, name| value.get(name))
}

impl Strategy for CustomStrategy {
    fn counts_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Tree, old: &Tree) -> bool {
        let counts = |name: &str| {
            let is_status = self.has_status && name == "status";
            !is_status && !matches!(name, "apiVersion" | "kind" | "metadata")
        };
        new.keys()
            .chain(old.keys())
            .any(|name| counts(name) && !meta::same(new.get(name), old.get(name)))
    }

    fn prepare_for_create(&self, _: &Context<'_>, object: &mut Tree) {
        if self.has_status {
            object.remove("status");
        }
    }

    fn prepare_for_update(&self, _: &Context<'_>, new: &mut Tree, old: &Tree) {
        if self.has_status {
            keep(new, old, "status");
        }
    }

    fn prepare_for_status_update(&self, _: &Context<'_>, new: &mut Tree, old: &Tree) {
        let managed = new
            .get("metadata")
            .and_then(|metadata| metadata.get("managedFields"))
            .cloned();
        keep_all_but(new, old, &["status", "apiVersion", "kind"]);
        // All of the metadata is the old object's, but for who wrote what.
        let metadata = new.get_mut("metadata").and_then(Value::as_object_mut);
        if let (Some(metadata), Some(managed)) = (metadata, managed) {
            metadata.insert("managedFields".to_owned(), managed);
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Tree) -> FieldErrors {
        self.check(object, None)
    }

    fn validate_update(&self, _: &Context<'_>, new: &Tree, old: &Tree) -> FieldErrors {
        self.check(new, Some(old))
    }

    fn validate_status_update(&self, _: &Context<'_>, new: &Tree, old: &Tree) -> FieldErrors {
        self.check(new, Some(old))
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

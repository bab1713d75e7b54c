//! Rules for paths inside of volumes and containers.

use crate::field::{FieldError, FieldErrors, Path};

/// No element may lead upwards.
pub(crate) fn no_backsteps(errors: &mut FieldErrors, place: &str, path: &Path) {
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

/// A relative path that does not lead upwards.
pub(crate) fn descending(errors: &mut FieldErrors, place: &str, path: &Path) {
    if place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    no_backsteps(errors, place, path);
}

/// The same, and not a name that volumes keep for themselves.
pub(crate) fn local(errors: &mut FieldErrors, place: &str, path: &Path) {
    descending(errors, place, path);
    if place.starts_with("..") && !place.starts_with("../") && place != ".." {
        errors.push(FieldError::invalid(path, place, "must not start with '..'"));
    }
}

//! `apps/v1` `ControllerRevision`.

use crate::Kind;
use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::rules::Rules;
use crate::tree::number;
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            validate,
            validate_update,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")
    }
}

fn data(object: &Tree) -> Option<&Value> {
    object.get("data").filter(|data| !data.is_null())
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if data(object).is_none() {
        errors.push(FieldError::required(
            &Path::new("data"),
            "data is mandatory",
        ));
    }
    let revision = number(object, "revision").unwrap_or_default();
    if revision < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&Path::new("revision"), revision, why));
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    if meta::same(data(new), data(old)) {
        return FieldErrors::new();
    }
    let shown = data(new).cloned().unwrap_or_default().to_string();
    let path = Path::new("data");
    vec![FieldError::invalid_shown(
        &path,
        shown,
        "field is immutable",
    )]
}

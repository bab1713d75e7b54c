//! `core/v1` `ConfigMap`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{flag, map};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cm"]),
        strategy: Rules {
            validate,
            validate_update,
            revalidates_meta: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "ConfigMap", "configmaps")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Data",
            "string",
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
            |o, _| (cells::size(o, "data") + cells::size(o, "binaryData")).into(),
        ),
        Column::age(),
    ]
}

const BYTES_MAX: usize = 1024 * 1024;

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in map(object, field).into_iter().flatten() {
            let at = Path::new(field).key(key);
            check::texts(&mut errors, &at, key, names::is_config_map_key(key));
            if field == "data" && map(object, "binaryData").is_some_and(|m| m.contains_key(key)) {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(&at, key.as_str(), why));
            }
            let length = value.as_str().map_or(0, str::len);
            // What is in base64 counts decoded.
            size += if field == "binaryData" {
                length / 4 * 3
            } else {
                length
            };
        }
    }
    if size > BYTES_MAX {
        errors.push(FieldError::too_long(&Path::new("[]"), BYTES_MAX));
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if flag(old, "immutable") == Some(true) {
        let why = "field is immutable when `immutable` is set";
        if flag(new, "immutable") != Some(true) {
            errors.push(FieldError::forbidden(&Path::new("immutable"), why));
        }
        for field in ["data", "binaryData"] {
            if !meta::same(new.get(field), old.get(field)) {
                errors.push(FieldError::forbidden(&Path::new(field), why));
            }
        }
    }
    errors
}

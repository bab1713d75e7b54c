//! `core/v1` `Secret`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_json;
use crate::kind::SelectableField;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, flag, make, map, text, text_at};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        selectable_fields: vec![SelectableField::new("type", |secret| {
            crate::tree::text(secret, "type").into()
        })],
        strategy: Rules {
            validate,
            validate_update,
            revalidates_meta: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "Secret", "secrets")
    }
}

/// `stringData` is a way to write `data` without encoding it oneself.
fn defaults(object: &mut Tree) {
    default(object, "type", "Opaque");
    if let Some(Value::Object(plain)) = object.remove("stringData") {
        let data = make(object, "data");
        for (key, value) in plain {
            let value = value.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(value).into());
        }
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Type",
            "string",
            "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
            |o, _| text_at(o, &["type"]).into(),
        ),
        Column::new(
            "Data",
            "string",
            "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
            |o, _| cells::size(o, "data").into(),
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
            let length = value.as_str().map_or(0, str::len);
            // What is in base64 counts decoded.
            size += if field == "data" {
                length / 4 * 3
            } else {
                length
            };
        }
    }
    if size > BYTES_MAX {
        errors.push(FieldError::too_long(&Path::new("data"), BYTES_MAX));
    }
    let needed: &[&str] = match text(object, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    let has = |key: &str| map(object, "data").is_some_and(|data| data.contains_key(key));
    for key in needed {
        if !has(key) {
            errors.push(FieldError::required(&Path::new("data").key(key), ""));
        }
    }
    for key in [".dockerconfigjson", ".dockercfg"] {
        if needed == [key] {
            let value = map(object, "data")
                .map(|data| text(data, key))
                .unwrap_or_default();
            let plain = STANDARD.decode(value).unwrap_or_default();
            if has(key)
                && let Err(why) = serde_json::from_slice::<Tree>(&plain)
            {
                let at = Path::new("data").key(key);
                let shown = "<secret contents redacted>";
                errors.push(FieldError::invalid(
                    &at,
                    shown,
                    go_json::problem(&plain, &why),
                ));
            }
        }
    }
    if text(object, "type") == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        for key in ["username", "password"] {
            errors.push(FieldError::required(&Path::new("data").key(key), ""));
        }
    }
    let account = "kubernetes.io/service-account.name";
    if text(object, "type") == "kubernetes.io/service-account-token"
        && text_at(object, &["metadata", "annotations", account]).is_empty()
    {
        let at = Path::new("metadata").child("annotations").key(account);
        errors.push(FieldError::required(&at, ""));
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    check::immutable(&mut errors, new, old, &["type"], &Path::root());
    if flag(old, "immutable") == Some(true) {
        let why = "field is immutable when `immutable` is set";
        if flag(new, "immutable") != Some(true) {
            errors.push(FieldError::forbidden(&Path::new("immutable"), why));
        }
        for field in ["data"] {
            if !meta::same(new.get(field), old.get(field)) {
                errors.push(FieldError::forbidden(&Path::new(field), why));
            }
        }
    }
    errors
}

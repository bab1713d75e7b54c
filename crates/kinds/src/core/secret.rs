//! `core/v1` `Secret`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::kind::SelectableField;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, make, text_at};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        selectable_fields: vec![SelectableField::new("type", |secret| {
            crate::tree::text(secret, "type").into()
        })],
        strategy: Rules { ..Rules::PLAIN }.strategy(),
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

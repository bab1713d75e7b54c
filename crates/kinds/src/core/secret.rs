//! `core/v1` `Secret`.

use crate::Kind;
use crate::Tree;
use crate::kind::SelectableField;
use crate::rules::Rules;
use crate::tree::{default, make};
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

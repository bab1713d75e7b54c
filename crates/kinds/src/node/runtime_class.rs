//! `node.k8s.io/v1` `RuntimeClass`.

use crate::Kind;
use crate::Tree;
use crate::amounts;
use crate::field::{FieldErrors, Path};
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::text_at;
use crate::view::{View, named};

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            validate,
            validate_update,
            create_on_update: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    }
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let path = Path::new("handler");
    let found = meta::immutable(new.get("handler"), old.get("handler"), &path);
    found.into_iter().collect()
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let class = View::new(object, Path::root());
    let handler = class.text("handler");
    named(
        &mut errors,
        &class.at("handler"),
        handler,
        names::is_dns1123_label,
    );
    // Upstream's path is that of a container's limits.
    let limits = Path::new("overhead").child("limits");
    for (_, name, value) in class.inner("overhead").entries("podFixed") {
        let path = limits.key(name);
        amounts::name(&mut errors, amounts::Names::Container, name, &path);
        amounts::amount(&mut errors, name, value, &path);
    }
    errors
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Handler", "string", "", |o, _| {
            text_at(o, &["handler"]).into()
        }),
        Column::age(),
    ]
}

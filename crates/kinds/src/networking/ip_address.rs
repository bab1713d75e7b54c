//! `networking.k8s.io/v1` `IPAddress`.

use crate::Kind;
use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::go_form;
use crate::ip;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{map_at, text};
use crate::view::View;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ip"]),
        strategy: Rules {
            name: |name, _| ip::canonical_texts(name),
            validate,
            validate_update,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: vec![
            Column::name(),
            Column::new(
                "ParentRef",
                "string",
                "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
                |o, _| parent(o).into(),
            ),
            Column::age(),
        ],
        ..Kind::cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses")
    }
}

fn parent(object: &Tree) -> String {
    let Some(parent) = map_at(object, &["spec", "parentRef"]) else {
        return "<none>".to_owned();
    };
    let mut shown = text(parent, "resource").to_owned();
    let group = text(parent, "group");
    if !group.is_empty() {
        shown = format!("{shown}.{group}");
    }
    let namespace = text(parent, "namespace");
    if !namespace.is_empty() {
        shown = format!("{shown}/{namespace}");
    }
    format!("{shown}/{}", text(parent, "name"))
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let Some(parent) = spec.map("parentRef") else {
        errors.push(FieldError::required(&spec.at("parentRef"), ""));
        return errors;
    };
    parent.name(&mut errors, "group", names::is_dns1123_subdomain);
    parent.required_name(&mut errors, "resource", names::is_path_segment);
    parent.required_name(&mut errors, "name", names::is_path_segment);
    parent.name(&mut errors, "namespace", names::is_path_segment);
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let (new, old) = (View::of(new, "spec"), View::of(old, "spec"));
    let field = "parentRef";
    if meta::same(new.value(field), old.value(field)) {
        return FieldErrors::new();
    }
    let parent = new.inner(field);
    let shown = go_form::shown("io.k8s.api.networking.v1.ParentReference", parent.tree);
    vec![FieldError::invalid_shown(
        &parent.path,
        shown,
        "field is immutable",
    )]
}

//! `core/v1` `PodTemplate`, and what templates of objects may say about them.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::core::{pod_defaults, pod_validate};
use crate::field::{FieldError, FieldErrors};
use crate::meta;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, list_at};
use crate::view::View;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: pod_defaults::template,
        strategy: Rules {
            validate,
            generation: &["template"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "PodTemplate", "podtemplates")
    }
}

fn columns() -> Vec<Column> {
    const CONTAINERS: [&str; 3] = ["template", "spec", "containers"];
    vec![
        Column::name(),
        Column::new(
            "Containers",
            "string",
            "Names of each container in the template.",
            |o, _| cells::joined(list_at(o, &CONTAINERS), "name"),
        ),
        Column::new(
            "Images",
            "string",
            "Images referenced by each container in the template.",
            |o, _| cells::joined(list_at(o, &CONTAINERS), "image"),
        ),
        Column::new(
            "Pod Labels",
            "string",
            "The labels for the pod template.",
            |o, _| cells::pairs(at(o, &["template", "metadata", "labels"])),
        ),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    pod_validate::template_spec(&mut errors, &View::of(object, "template"));
    errors
}

/// Metadata of a template whose objects get a name of their own: labels and
/// annotations, nothing else.
pub(crate) fn only_labels_and_annotations(errors: &mut FieldErrors, meta: &View<'_>) {
    errors.extend(meta::validate_annotations(
        meta.value("annotations"),
        &meta.at("annotations"),
    ));
    errors.extend(meta::validate_labels(
        meta.value("labels"),
        &meta.at("labels"),
    ));
    for (field, value) in meta.tree {
        let is_known = matches!(&**field, "labels" | "annotations");
        if !is_known && !meta::same(Some(value), None) && value != "" {
            errors.push(FieldError::forbidden(&meta.at(field), "cannot be set"));
        }
    }
}

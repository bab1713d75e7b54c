//! The kinds of the group `apps`, and what their pods' makers have in common.

pub(crate) mod controller_revision;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

use crate::Tree;
use crate::cells;
use crate::field::{FieldErrors, Path};
use crate::meta;
use crate::table::Column;
use crate::tree::list_at;
use crate::view::View;

/// The columns that tell the containers of a template.
pub(crate) fn container_columns() -> [Column; 2] {
    const CONTAINERS: [&str; 4] = ["spec", "template", "spec", "containers"];
    [
        Column::new(
            "Containers",
            "string",
            "Names of each container in the template.",
            |o, _| cells::joined(list_at(o, &CONTAINERS), "name"),
        )
        .wide(),
        Column::new(
            "Images",
            "string",
            "Images referenced by each container in the template.",
            |o, _| cells::joined(list_at(o, &CONTAINERS), "image"),
        )
        .wide(),
    ]
}

/// The selector says which pods are one's own: it never changes.
pub(crate) fn keeps_selector(new: &Tree, old: &Tree) -> FieldErrors {
    let field = |object| View::of(object, "spec").value("selector");
    let path = Path::new("spec").child("selector");
    meta::immutable(field(new), field(old), &path)
        .into_iter()
        .collect()
}

/// Counts of replicas: none is negative, and no part is more than the whole.
pub(crate) fn replica_counts(new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let status = View::of(new, "status");
    status.not_negative(
        &mut errors,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        ],
    );
    not_more(
        &mut errors,
        &status,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "replicas",
        "cannot be greater than status.replicas",
    );
    let why = "cannot be greater than readyReplicas";
    not_more(
        &mut errors,
        &status,
        &["availableReplicas"],
        "readyReplicas",
        why,
    );
    errors
}

/// None of the counts is more than another one.
pub(crate) fn not_more(
    errors: &mut FieldErrors,
    status: &View<'_>,
    fields: &[&str],
    whole: &str,
    why: &str,
) {
    let count = |field: &str| status.number(field).unwrap_or_default();
    for field in fields {
        if count(field) > count(whole) {
            status.invalid(errors, field, why);
        }
    }
}

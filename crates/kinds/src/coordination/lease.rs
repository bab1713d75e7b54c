//! `coordination.k8s.io/v1` `Lease`.

use crate::Kind;
use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{map, number, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            validate,
            create_on_update: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Holder",
            "string",
            "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
            |o, _| text_at(o, &["spec", "holderIdentity"]).into(),
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let seconds = number(spec, "leaseDurationSeconds");
    if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            why,
        ));
    }
    check::not_negative(&mut errors, spec, &["leaseTransitions"], &path);
    errors
}

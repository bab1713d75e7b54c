//! `policy/v1` `PodDisruptionBudget`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, map, number_at};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pdb"]),
        subresources: vec![Subresource::status("PodDisruptionBudget")],
        strategy: Rules {
            validate,
            generation: &["spec"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Min Available",
            "string",
            "The minimum number of pods that must be available.",
            |o, _| cells::int_or_text(at(o, &["spec", "minAvailable"])),
        ),
        Column::new(
            "Max Unavailable",
            "string",
            "The maximum number of pods that may be unavailable.",
            |o, _| cells::int_or_text(at(o, &["spec", "maxUnavailable"])),
        ),
        Column::new(
            "Allowed Disruptions",
            "integer",
            "Calculated number of pods that may be disrupted at this time.",
            |o, _| number_at(o, &["status", "disruptionsAllowed"]).into(),
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_some() && most.is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&path, Value::Object(spec.clone()), why));
    }
    for (value, field) in [(least, "minAvailable"), (most, "maxUnavailable")] {
        check::count_or_percent(&mut errors, value, &path.child(field));
        check::at_most_everything(&mut errors, value, &path.child(field));
    }
    check::selector(&mut errors, spec.get("selector"), &path.child("selector"));
    let supported = ["AlwaysAllow", "IfHealthyBudget"];
    check::one_of(
        &mut errors,
        spec,
        "unhealthyPodEvictionPolicy",
        &path,
        &supported,
    );
    errors
}

//! `scheduling.k8s.io/v1` `PriorityClass`.

use crate::Kind;
use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, flag, number, number_at, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pc"]),
        defaults,
        strategy: Rules {
            validate,
            validate_update,
            generation: &["value"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
        )
    }
}

fn defaults(object: &mut Tree) {
    default(object, "preemptionPolicy", "PreemptLowerPriority");
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Value",
            "integer",
            "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
            |o, _| number_at(o, &["value"]).into(),
        ),
        Column::new(
            "Global-Default",
            "boolean",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
            |o, _| flag(o, "globalDefault").unwrap_or_default().into(),
        ),
        Column::age(),
        Column::new(
            "PreemptionPolicy",
            "string",
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
            |o, _| text_at(o, &["preemptionPolicy"]).into(),
        ),
    ]
}

const USER_VALUE_MAX: i64 = 1_000_000_000;

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = text_at(object, &["metadata", "name"]);
    let value = number(object, "value").unwrap_or_default();
    if name.starts_with("system-") {
        if !matches!(name, "system-node-critical" | "system-cluster-critical") {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            errors.push(FieldError::forbidden(
                &Path::new("metadata").child("name"),
                why,
            ));
        }
    } else if value > USER_VALUE_MAX {
        let why = format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
        errors.push(FieldError::forbidden(&Path::new("value"), why));
    }
    let supported = ["PreemptLowerPriority", "Never"];
    check::one_of(
        &mut errors,
        object,
        "preemptionPolicy",
        &Path::root(),
        &supported,
    );
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if number(new, "value") != number(old, "value") {
        let why = "may not be changed in an update.";
        errors.push(FieldError::forbidden(&Path::new("value"), why));
    }
    check::immutable(&mut errors, new, old, &["preemptionPolicy"], &Path::root());
    errors
}

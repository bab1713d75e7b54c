//! `scheduling.k8s.io/v1` `PriorityClass`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, flag, number_at, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pc"]),
        defaults,
        strategy: Rules {
            generation: &["*"],
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

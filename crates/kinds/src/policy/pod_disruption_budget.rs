//! `policy/v1` `PodDisruptionBudget`.

use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, number_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pdb"]),
        subresources: vec![Subresource::status("PodDisruptionBudget")],
        strategy: Rules {
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

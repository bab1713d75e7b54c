//! `policy/v1` `PodDisruptionBudget`.

use crate::kind::texts;
use crate::rules::Rules;
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
        ..Kind::namespaced(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
        )
    }
}

//! `policy/v1` `PodDisruptionBudget`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pdb"]),
        subresources: vec![Subresource::status("PodDisruptionBudget")],
        ..Kind::namespaced(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
        )
    }
}

//! `coordination.k8s.io/v1` `Lease`.

use crate::Kind;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::text_at;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
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

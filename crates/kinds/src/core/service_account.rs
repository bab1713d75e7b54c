//! `core/v1` `ServiceAccount`.

use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sa"]),
        subresources: vec![Subresource::new(
            "token",
            "authentication.k8s.io/v1",
            "TokenRequest",
            &["create"],
        )],
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts")
    }
}

fn columns() -> Vec<Column> {
    vec![Column::name(), Column::age()]
}

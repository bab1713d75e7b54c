//! `core/v1` `ServiceAccount`.

use crate::kind::texts;
use crate::rules::Rules;
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
        ..Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts")
    }
}

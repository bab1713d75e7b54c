//! `core/v1` `ServiceAccount`.

use crate::kind::texts;
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
        ..Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts")
    }
}

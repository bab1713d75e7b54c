//! `resource.k8s.io/v1` `ResourceClaimTemplate`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced(
        "resource.k8s.io",
        "v1",
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
    )
}

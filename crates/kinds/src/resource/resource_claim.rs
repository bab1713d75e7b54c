//! `resource.k8s.io/v1` `ResourceClaim`.

use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ResourceClaim")],
        ..Kind::namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims")
    }
}

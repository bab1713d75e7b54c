//! `networking.k8s.io/v1` `ServiceCIDR`.

use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ServiceCIDR")],
        ..Kind::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs")
    }
}

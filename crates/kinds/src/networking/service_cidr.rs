//! `networking.k8s.io/v1` `ServiceCIDR`.

use crate::rules::Rules;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ServiceCIDR")],
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs")
    }
}

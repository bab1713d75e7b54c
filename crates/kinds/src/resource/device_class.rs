//! `resource.k8s.io/v1` `DeviceClass`.

use crate::Kind;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses")
    }
}

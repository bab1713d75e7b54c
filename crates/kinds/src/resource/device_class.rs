//! `resource.k8s.io/v1` `DeviceClass`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses")
}

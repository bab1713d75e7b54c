//! `resource.k8s.io/v1` `ResourceSlice`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster("resource.k8s.io", "v1", "ResourceSlice", "resourceslices")
}

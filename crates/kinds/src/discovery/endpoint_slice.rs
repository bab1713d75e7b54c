//! `discovery.k8s.io/v1` `EndpointSlice`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
}

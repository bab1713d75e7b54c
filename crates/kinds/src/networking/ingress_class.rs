//! `networking.k8s.io/v1` `IngressClass`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
}

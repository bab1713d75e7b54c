//! `node.k8s.io/v1` `RuntimeClass`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
}

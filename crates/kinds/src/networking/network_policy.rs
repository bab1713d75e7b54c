//! `networking.k8s.io/v1` `NetworkPolicy`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["netpol"]),
        ..Kind::namespaced(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
        )
    }
}

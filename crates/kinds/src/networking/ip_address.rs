//! `networking.k8s.io/v1` `IPAddress`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ip"]),
        ..Kind::cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses")
    }
}

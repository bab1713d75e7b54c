//! `networking.k8s.io/v1` `IPAddress`.

use crate::Kind;
use crate::kind::texts;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ip"]),
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses")
    }
}

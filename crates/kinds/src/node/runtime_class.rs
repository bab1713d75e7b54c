//! `node.k8s.io/v1` `RuntimeClass`.

use crate::Kind;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules {
            create_on_update: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    }
}

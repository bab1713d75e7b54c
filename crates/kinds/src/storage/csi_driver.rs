//! `storage.k8s.io/v1` `CSIDriver`.

use crate::Kind;
use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default, list, make};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules {
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "attachRequired", true);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    for field in [
        "podInfoOnMount",
        "storageCapacity",
        "requiresRepublish",
        "seLinuxMount",
    ] {
        default(spec, field, false);
    }
    if list(spec, "volumeLifecycleModes").is_empty() {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
}

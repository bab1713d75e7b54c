//! `storage.k8s.io/v1` `StorageClass`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::default;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sc"]),
        defaults,
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses")
    }
}

fn defaults(object: &mut Tree) {
    default(object, "reclaimPolicy", "Delete");
    default(object, "volumeBindingMode", "Immediate");
}

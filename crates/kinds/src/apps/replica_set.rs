//! `apps/v1` `ReplicaSet`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, make};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rs"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("ReplicaSet")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    pod_defaults::template(spec);
}

//! `flowcontrol.apiserver.k8s.io/v1` `FlowSchema`.

use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default_nonzero, make};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("FlowSchema")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "flowschemas",
        )
    }
}

fn defaults(object: &mut Tree) {
    default_nonzero(make(object, "spec"), "matchingPrecedence", 1000);
}

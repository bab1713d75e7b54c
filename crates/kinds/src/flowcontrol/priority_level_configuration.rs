//! `flowcontrol.apiserver.k8s.io/v1` `PriorityLevelConfiguration`.

use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default, default_nonzero, map_mut, map_mut_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("PriorityLevelConfiguration")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
        )
    }
}

fn defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    for (field, shares) in [("exempt", 0), ("limited", 30)] {
        if let Some(level) = map_mut(spec, field) {
            default(level, "nominalConcurrencyShares", shares);
            default(level, "lendablePercent", 0);
        }
    }
    if let Some(queuing) = map_mut_at(spec, &["limited", "limitResponse", "queuing"]) {
        for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            default_nonzero(queuing, field, value);
        }
    }
}

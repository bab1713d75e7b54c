//! `scheduling.k8s.io/v1` `PriorityClass`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::default;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pc"]),
        defaults,
        strategy: Rules {
            generation: &["*"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
        )
    }
}

fn defaults(object: &mut Tree) {
    default(object, "preemptionPolicy", "PreemptLowerPriority");
}

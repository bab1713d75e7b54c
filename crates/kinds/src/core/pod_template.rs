//! `core/v1` `PodTemplate`.

use crate::Kind;
use crate::core::pod_defaults;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults: pod_defaults::template,
        strategy: Rules {
            generation: &["template"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "PodTemplate", "podtemplates")
    }
}

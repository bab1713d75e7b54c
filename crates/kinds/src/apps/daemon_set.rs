//! `apps/v1` `DaemonSet`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, make, text};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ds"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("DaemonSet")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "revisionHistoryLimit", 10);
    let strategy = make(spec, "updateStrategy");
    default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = make(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", 1);
        default(rolling, "maxSurge", 0);
    }
    pod_defaults::template(spec);
}

//! `apps/v1` `Deployment`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, make, text};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["deploy"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("Deployment")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            generation_annotations: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("apps", "v1", "Deployment", "deployments")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let strategy = make(spec, "strategy");
    default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = make(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
    pod_defaults::template(spec);
}

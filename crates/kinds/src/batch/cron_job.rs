//! `batch/v1` `CronJob`.

use crate::Tree;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, make, map_mut_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cj"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("CronJob")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("batch", "v1", "CronJob", "cronjobs")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = map_mut_at(spec, &["jobTemplate", "spec"]) {
        // Only the pod template: what a job itself defaults is settled when it is made.
        pod_defaults::template(job);
    }
}

//! `apps/v1` `Deployment`.

use crate::Tree;
use crate::cells;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, list_at, make, number_at, text};
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
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Ready", "string", "Number of the pod with ready state", |o, _| cells::ratio(o, "readyReplicas", "replicas")),
        Column::new("Up-to-date", "string", "Total number of non-terminating pods targeted by this deployment that have the desired template spec.", |o, _| number_at(o, &["status", "updatedReplicas"]).into()),
        Column::new("Available", "string", "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.", |o, _| number_at(o, &["status", "availableReplicas"]).into()),
        Column::age(),
        Column::new("Containers", "string", "Names of each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "name")).wide(),
        Column::new("Images", "string", "Images referenced by each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "image")).wide(),
        Column::new("Selector", "string", "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

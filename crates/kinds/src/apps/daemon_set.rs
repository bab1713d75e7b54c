//! `apps/v1` `DaemonSet`.

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
        short_names: texts(&["ds"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("DaemonSet")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Desired", "integer", "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/", |o, _| number_at(o, &["status", "desiredNumberScheduled"]).into()),
        Column::new("Current", "integer", "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/", |o, _| number_at(o, &["status", "currentNumberScheduled"]).into()),
        Column::new("Ready", "integer", "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.", |o, _| number_at(o, &["status", "numberReady"]).into()),
        Column::new("Up-to-date", "integer", "The total number of nodes that are running updated daemon pod", |o, _| number_at(o, &["status", "updatedNumberScheduled"]).into()),
        Column::new("Available", "integer", "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)", |o, _| number_at(o, &["status", "numberAvailable"]).into()),
        Column::new("Node Selector", "string", "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/", |o, _| cells::pairs(at(o, &["spec", "template", "spec", "nodeSelector"]))),
        Column::age(),
        Column::new("Containers", "string", "Names of each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "name")).wide(),
        Column::new("Images", "string", "Images referenced by each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "image")).wide(),
        Column::new("Selector", "string", "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

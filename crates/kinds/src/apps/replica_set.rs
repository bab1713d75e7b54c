//! `apps/v1` `ReplicaSet`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, make, map, number_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rs"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("ReplicaSet")],
        defaults,
        strategy: Rules {
            validate,
            validate_update: super::keeps_selector,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    pod_defaults::template(spec);
}

fn columns() -> Vec<Column> {
    let [containers, images] = super::container_columns();
    vec![
        Column::name(),
        Column::new("Desired", "integer", "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset", |o, _| number_at(o, &["spec", "replicas"]).into()),
        Column::new("Current", "integer", "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset", |o, _| number_at(o, &["status", "replicas"]).into()),
        Column::new("Ready", "integer", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.", |o, _| number_at(o, &["status", "readyReplicas"]).into()),
        Column::age(),
        containers,
        images,
        Column::new("Selector", "string", "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    check::not_negative(&mut errors, spec, &["replicas", "minReadySeconds"], &path);
    check::workload_selector(&mut errors, spec, "ReplicaSet", &path);
    pod_validate::lasting_template(&mut errors, spec, "ReplicaSet", &path);
    errors
}

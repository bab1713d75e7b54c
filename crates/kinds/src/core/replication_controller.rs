//! `core/v1` `ReplicationController`.

use crate::Tree;
use crate::cells;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldError, FieldErrors};
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::GarbageCollection;
use crate::table::Column;
use crate::tree::{at, default, list_at, make, map, map_at, number_at};
use crate::view::View;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["rc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::scale(),
            Subresource::status("ReplicationController"),
        ],
        defaults,
        selectable_fields: vec![SelectableField::new("status.replicas", |rc| {
            crate::tree::number_at(rc, &["status", "replicas"]).to_string()
        })],
        strategy: Rules {
            validate,
            validate_status: crate::apps::replica_counts,
            generation: &["spec"],
            garbage_collection: GarbageCollection::Orphan,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
            .stored_at("/registry/controllers")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    pod_defaults::template(spec);
    let Some(labels) = at(spec, &["template", "metadata", "labels"]).cloned() else {
        return;
    };
    if map(spec, "selector").is_none_or(Tree::is_empty) {
        spec.insert("selector".into(), labels.clone());
    }
    if map_at(object, &["metadata", "labels"]).is_none_or(Tree::is_empty) {
        make(object, "metadata").insert("labels".into(), labels);
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Desired", "integer", "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller", |o, _| number_at(o, &["spec", "replicas"]).into()),
        Column::new("Current", "integer", "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller", |o, _| number_at(o, &["status", "replicas"]).into()),
        Column::new("Ready", "integer", "The number of ready replicas for this replication controller.", |o, _| number_at(o, &["status", "readyReplicas"]).into()),
        Column::age(),
        Column::new("Containers", "string", "Names of each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "name")).wide(),
        Column::new("Images", "string", "Images referenced by each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "image")).wide(),
        Column::new("Selector", "string", "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::pairs(at(o, &["spec", "selector"]))).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    spec.not_negative(&mut errors, &["minReadySeconds"]);
    let selector = spec.inner("selector");
    if selector.tree.is_empty() {
        errors.push(FieldError::required(&selector.path, ""));
    }
    spec.not_negative(&mut errors, &["replicas"]);
    let Some(template) = spec.map("template") else {
        errors.push(FieldError::required(&spec.at("template"), ""));
        return errors;
    };
    let meta = template.inner("metadata");
    let labels = meta.inner("labels");
    let matches = selector
        .tree
        .iter()
        .all(|(key, value)| labels.tree.get(key) == Some(value));
    if !matches {
        let why = "`selector` does not match template `labels`";
        meta.invalid(&mut errors, "labels", why);
    }
    let kind = "ReplicationController";
    pod_validate::lasting_template(&mut errors, spec.tree, kind, &spec.path);
    errors
}

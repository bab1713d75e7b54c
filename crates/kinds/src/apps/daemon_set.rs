//! `apps/v1` `DaemonSet`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::meta;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::table::Column;
use crate::tree::{at, default, make, map, number_at, text, text_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ds"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("DaemonSet")],
        defaults,
        strategy: Rules {
            validate,
            validate_update: super::keeps_selector,
            generation: &["spec"],
            create,
            update,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets")
    }
}

/// Counts the templates that there were. Nobody goes by it any more, but it is
/// still told.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn create(_: &Context<'_>, object: &mut Tree) {
    set_template_generation(object, 1);
}

fn update(_: &Context<'_>, new: &mut Tree, old: &Tree) {
    let path = ["metadata", "annotations", TEMPLATE_GENERATION];
    let generation = text_at(old, &path).parse::<i64>().unwrap_or_default();
    let template = |object| at(object, &["spec", "template"]);
    let has_changed = !meta::same(template(new), template(old));
    set_template_generation(new, generation + i64::from(has_changed));
}

fn set_template_generation(object: &mut Tree, generation: i64) {
    let annotations = make(make(object, "metadata"), "annotations");
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn defaults(object: &mut Tree) {
    let annotations = make(make(object, "metadata"), "annotations");
    default(annotations, TEMPLATE_GENERATION, "0");
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
    let [containers, images] = super::container_columns();
    vec![
        Column::name(),
        Column::new("Desired", "integer", "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/", |o, _| number_at(o, &["status", "desiredNumberScheduled"]).into()),
        Column::new("Current", "integer", "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/", |o, _| number_at(o, &["status", "currentNumberScheduled"]).into()),
        Column::new("Ready", "integer", "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.", |o, _| number_at(o, &["status", "numberReady"]).into()),
        Column::new("Up-to-date", "integer", "The total number of nodes that are running updated daemon pod", |o, _| number_at(o, &["status", "updatedNumberScheduled"]).into()),
        Column::new("Available", "integer", "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)", |o, _| number_at(o, &["status", "numberAvailable"]).into()),
        Column::new("Node Selector", "string", "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/", |o, _| cells::pairs(at(o, &["spec", "template", "spec", "nodeSelector"]))),
        Column::age(),
        containers,
        images,
        Column::new("Selector", "string", "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    check::workload_selector(&mut errors, spec, "daemonset", &path);
    pod_validate::lasting_template(&mut errors, spec, "DaemonSet", &path);
    check::not_negative(&mut errors, spec, &["minReadySeconds"], &path);
    let at = path.child("updateStrategy");
    if let Some(strategy) = map(spec, "updateStrategy") {
        check::one_of(
            &mut errors,
            strategy,
            "type",
            &at,
            &["RollingUpdate", "OnDelete"],
        );
        if let Some(rolling) = map(strategy, "rollingUpdate") {
            validate_rolling(&mut errors, rolling, &at.child("rollingUpdate"));
        }
    }
    check::not_negative(&mut errors, spec, &["revisionHistoryLimit"], &path);
    errors
}

fn validate_rolling(errors: &mut FieldErrors, rolling: &Tree, path: &Path) {
    let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    for (value, field) in [(down, "maxUnavailable"), (up, "maxSurge")] {
        check::count_or_percent(errors, value, &path.child(field));
        check::at_most_everything(errors, value, &path.child(field));
    }
    match (check::is_zero(down), check::is_zero(up)) {
        (false, false) => {
            let shown = up.cloned().unwrap_or_default();
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(&path.child("maxSurge"), shown, why));
        }
        (true, true) => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(&path.child("maxUnavailable"), why));
        }
        _ => {}
    }
}

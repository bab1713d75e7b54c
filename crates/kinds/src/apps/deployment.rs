//! `apps/v1` `Deployment`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, make, map, number, number_at, text};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["deploy"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("Deployment")],
        defaults,
        strategy: Rules {
            validate,
            validate_update: super::keeps_selector,
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
    let [containers, images] = super::container_columns();
    vec![
        Column::name(),
        Column::new("Ready", "string", "Number of the pod with ready state", |o, _| cells::ratio(o, "readyReplicas", "replicas")),
        Column::new("Up-to-date", "string", "Total number of non-terminating pods targeted by this deployment that have the desired template spec.", |o, _| number_at(o, &["status", "updatedReplicas"]).into()),
        Column::new("Available", "string", "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.", |o, _| number_at(o, &["status", "availableReplicas"]).into()),
        Column::age(),
        containers,
        images,
        Column::new("Selector", "string", "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    check::not_negative(&mut errors, spec, &["replicas"], &path);
    check::workload_selector(&mut errors, spec, "deployment", &path);
    pod_validate::lasting_template(&mut errors, spec, "Deployment", &path);
    let at = path.child("strategy");
    if let Some(strategy) = map(spec, "strategy") {
        validate_strategy(&mut errors, strategy, &at);
    }
    let fields = [
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ];
    check::not_negative(&mut errors, spec, &fields, &path);
    if let Some(deadline) = number(spec, "progressDeadlineSeconds")
        && deadline >= 0
        && deadline <= number(spec, "minReadySeconds").unwrap_or_default()
    {
        let why = "must be greater than minReadySeconds";
        let at = path.child("progressDeadlineSeconds");
        errors.push(FieldError::invalid(&at, deadline, why));
    }
    errors
}

fn validate_strategy(errors: &mut FieldErrors, strategy: &Tree, path: &Path) {
    let rolling = map(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if rolling.is_some() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&path.child("rollingUpdate"), why));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = rolling else {
                let why = "this should be defaulted and never be nil";
                errors.push(FieldError::required(&path, why));
                return;
            };
            let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            check::count_or_percent(errors, down, &path.child("maxUnavailable"));
            check::count_or_percent(errors, up, &path.child("maxSurge"));
            if check::is_zero(down) && check::is_zero(up) {
                let why = "may not be 0 when `maxSurge` is 0";
                let shown = down.cloned().unwrap_or_default();
                errors.push(FieldError::invalid(
                    &path.child("maxUnavailable"),
                    shown,
                    why,
                ));
            }
            check::at_most_everything(errors, down, &path.child("maxUnavailable"));
        }
        other => {
            // Upstream shows the whole strategy as Go prints it.
            let rolling = rolling.map_or(Value::Null, |rolling| Value::Object(rolling.clone()));
            let shown = serde_json::json!({"Type": other, "RollingUpdate": rolling});
            let supported = ["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported(path, shown, &supported));
        }
    }
}

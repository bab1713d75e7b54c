//! `batch/v1` `Job`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::strategy::GarbageCollection;
use crate::table::Column;
use crate::tree::{
    at, default, flag, list_at, make, map, map_at, map_mut, maps_mut, number, number_at, text,
    text_at, unset,
};
use crate::view::View;
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("Job")],
        defaults,
        selectable_fields: vec![SelectableField::new("status.successful", |job| {
            number_at(job, &["status", "succeeded"]).to_string()
        })],
        strategy: Rules {
            validate,
            validate_update,
            generation: &["spec"],
            create,
            garbage_collection: GarbageCollection::Orphan,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("batch", "v1", "Job", "jobs")
    }
}

/// Defaults of a job's spec.
pub(crate) fn spec_defaults(spec: &mut Tree) {
    if unset(spec, "completions") && unset(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") {
        6
    } else {
        i64::from(i32::MAX)
    };
    default(spec, "backoffLimit", limit);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let replacement = if unset(spec, "podFailurePolicy") {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    default(spec, "podReplacementPolicy", replacement);
    if let Some(policy) = map_mut(spec, "podFailurePolicy") {
        for rule in maps_mut(policy, "rules") {
            for pattern in maps_mut(rule, "onPodConditions") {
                default(pattern, "status", "True");
            }
        }
    }
    pod_defaults::template(spec);
}

fn defaults(object: &mut Tree) {
    spec_defaults(make(object, "spec"));
    template_labels(object);
}

/// A job without labels has those of its pods.
fn template_labels(object: &mut Tree) {
    let labels = at(object, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels
        && map_at(object, &["metadata", "labels"]).is_none_or(Tree::is_empty)
    {
        make(object, "metadata").insert("labels".into(), labels);
    }
}

/// A job that does not choose its selector gets one that is its own.
fn create(_: &Context<'_>, object: &mut Tree) {
    let uid = text_at(object, &["metadata", "uid"]).to_owned();
    let name = text_at(object, &["metadata", "name"]).to_owned();
    let spec = make(object, "spec");
    let manual = flag(spec, "manualSelector") == Some(true);
    if !manual {
        let labels = make(make(make(spec, "template"), "metadata"), "labels");
        for (key, value) in [
            ("controller-uid", &uid),
            ("job-name", &name),
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
        ] {
            default(labels, key, value.as_str());
        }
        let selector = make(make(spec, "selector"), "matchLabels");
        default(selector, "batch.kubernetes.io/controller-uid", uid);
    }
    template_labels(object);
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Status", "string", "Status of the job.", |o, _| cells::job_status(o)),
        Column::new("Completions", "string", "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs.", |o, _| cells::job_completions(o)),
        Column::new("Duration", "string", "Time required to complete the job.", cells::job_duration),
        Column::age(),
        Column::new("Containers", "string", "Names of each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "name")).wide(),
        Column::new("Images", "string", "Images referenced by each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "template", "spec", "containers"]), "image")).wide(),
        Column::new("Selector", "string", "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::selector(at(o, &["spec", "selector"]))).wide(),
    ]
}

/// Complaints about a job's spec.
pub(crate) fn spec_errors(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    check::not_negative(errors, spec, &fields, path);
    check::one_of(
        errors,
        spec,
        "completionMode",
        path,
        &["NonIndexed", "Indexed"],
    );
    let indexed = text(spec, "completionMode") == "Indexed";
    if indexed && number(spec, "completions").is_none() {
        let why = "when completion mode is Indexed";
        errors.push(FieldError::required(&path.child("completions"), why));
    }
    if !indexed {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = number(spec, field) {
                let why = "requires indexed completion mode";
                errors.push(FieldError::invalid(&path.child(field), value, why));
            }
        }
    }
    super::failure_policy::validate(errors, &View::new(spec, path.clone()));
    let supported = ["Failed", "TerminatingOrFailed"];
    check::one_of(errors, spec, "podReplacementPolicy", path, &supported);
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str)
        && !names::is_domain_prefixed(manager)
    {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(&path.child("managedBy"), manager, why));
    }
    pod_validate::template(errors, spec, path);
    let policy = map_at(spec, &["template", "spec"]).map_or("", |spec| text(spec, "restartPolicy"));
    let at = path.child("template").child("spec").child("restartPolicy");
    if matches!(policy, "" | "Always") {
        let why = "valid values: \"OnFailure\", \"Never\"";
        errors.push(FieldError::required(&at, why));
    } else if !matches!(policy, "OnFailure" | "Never") {
        errors.push(FieldError::not_supported(
            &at,
            policy,
            &["OnFailure", "Never"],
        ));
    }
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    spec_errors(&mut errors, spec, &path);
    check::workload_selector(&mut errors, spec, "job", &path);
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let path = Path::new("spec");
    let (new, old) = (
        map(new, "spec").unwrap_or(&empty),
        map(old, "spec").unwrap_or(&empty),
    );
    if text(new, "completionMode") != "Indexed" {
        check::immutable(&mut errors, new, old, &["completions"], &path);
    }
    check::immutable(&mut errors, new, old, &["selector"], &path);
    // A suspended job that never started may still be directed elsewhere.
    if flag(old, "suspend") != Some(true) {
        check::immutable(&mut errors, new, old, &["template"], &path);
    }
    let fields = [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
    ];
    check::immutable(&mut errors, new, old, &fields, &path);
    errors
}

//! `batch/v1` `CronJob`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, list_at, make, map, map_at, map_mut_at, text, text_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cj"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("CronJob")],
        defaults,
        strategy: Rules {
            validate,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Schedule", "string", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron.", |o, _| text_at(o, &["spec", "schedule"]).into()),
        Column::new("Timezone", "string", "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones", |o, _| cells::text_or(o, &["spec", "timeZone"], "<none>")),
        Column::new("Suspend", "boolean", "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.", |o, _| cells::boolean(at(o, &["spec", "suspend"]))),
        Column::new("Active", "integer", "A list of pointers to currently running jobs.", |o, _| list_at(o, &["status", "active"]).len().into()),
        Column::new("Last Schedule", "string", "Information when was the last time the job was successfully scheduled.", |o, c| cells::since_or(o, &["status", "lastScheduleTime"], "<none>", c)),
        Column::age(),
        Column::new("Containers", "string", "Names of each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]), "name")).wide(),
        Column::new("Images", "string", "Images referenced by each container in the template.", |o, _| cells::joined(list_at(o, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]), "image")).wide(),
        Column::new("Selector", "string", "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors", |o, _| cells::selector(at(o, &["spec", "jobTemplate", "spec", "selector"]))).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let name = text_at(object, &["metadata", "name"]);
    // The controller appends eleven characters to the names of jobs.
    if name.len() > 52 {
        let why = "must be no more than 52 characters";
        errors.push(FieldError::invalid(
            &Path::new("metadata").child("name"),
            name,
            why,
        ));
    }
    let schedule = text(spec, "schedule");
    let at = path.child("schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if schedule.contains("TZ=") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(&at, schedule, why));
    } else if !schedule.starts_with('@') {
        let fields: Vec<&str> = schedule.split_whitespace().collect();
        if fields.len() != 5 {
            let why = format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            );
            errors.push(FieldError::invalid(&at, schedule, why));
        }
    }
    check::not_negative(&mut errors, spec, &["startingDeadlineSeconds"], &path);
    let supported = ["Allow", "Forbid", "Replace"];
    check::one_of(&mut errors, spec, "concurrencyPolicy", &path, &supported);
    let job = map_at(spec, &["jobTemplate", "spec"]).unwrap_or(&empty);
    let at = path.child("jobTemplate").child("spec");
    super::job::spec_errors(&mut errors, job, &at);
    let fields = ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    check::not_negative(&mut errors, spec, &fields, &path);
    errors
}

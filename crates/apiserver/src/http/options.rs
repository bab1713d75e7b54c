//! The options of requests, from queries and bodies.

use super::query::Query;
use crate::registry::{DeleteRequest, FieldValidation, ListRequest, WatchRequest, WriteOptions};
use kontiki_client::{DeleteOptions, Preconditions, PropagationPolicy};
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::{Cause, Status, Value};

fn invalid(kind: &str, errors: FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let causes = errors.into_iter().map(Cause::from).collect();
    Err(Status::invalid("meta.k8s.io", kind, "", causes))
}

fn check_dry_run<'a>(values: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        let path = Path::new("dryRun");
        let error = FieldError::not_supported(&path, values.clone(), &["All"]);
        invalid(kind, vec![error])?;
    }
    Ok(!values.is_empty())
}

/// `CreateOptions`, `UpdateOptions` or `PatchOptions`.
///
/// # Errors
/// 422 for values that do not exist.
pub fn write(
    query: &Query,
    kind: &str,
    user_agent: &str,
    is_apply: bool,
) -> Result<WriteOptions, Status> {
    let mut errors = FieldErrors::new();
    let field_validation = match query.get("fieldValidation") {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            let path = Path::new("fieldValidation");
            let supported = ["", "Ignore", "Strict", "Warn"];
            errors.push(FieldError::not_supported(&path, other, &supported));
            FieldValidation::Warn
        }
    };
    let manager = query.get("fieldManager");
    let path = Path::new("fieldManager");
    if manager.is_empty() && is_apply {
        errors.push(FieldError::required(&path, "is required for apply patch"));
    }
    errors.extend(kontiki_kinds::meta::validate_field_manager(manager, &path));
    if query.find("force").is_some() && kind == "PatchOptions" && !is_apply {
        let path = Path::new("force");
        errors.push(FieldError::forbidden(
            &path,
            "may not be specified for non-apply patch",
        ));
    }
    invalid(kind, errors)?;
    let field_manager = if manager.is_empty() {
        kontiki_patch::managed::name_from_user_agent(user_agent)
    } else {
        manager.to_owned()
    };
    Ok(WriteOptions {
        dry_run: check_dry_run(query.all("dryRun"), kind)?,
        field_manager,
        force: query.is_set("force"),
        field_validation,
    })
}

/// `ListOptions` of a list.
///
/// # Errors
/// 400 or 422 for what does not go together.
pub fn list(query: &Query) -> Result<ListRequest, Status> {
    check_version_match(query, false)?;
    let limit = query.get("limit");
    let limit: i64 = if limit.is_empty() {
        0
    } else {
        limit.parse().map_err(|_| {
            Status::bad_request(format!(
                "strconv.ParseInt: parsing \"{limit}\": invalid syntax"
            ))
        })?
    };
    Ok(ListRequest {
        label_selector: query.get("labelSelector").to_owned(),
        field_selector: query.get("fieldSelector").to_owned(),
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token: query.get("continue").to_owned(),
        resource_version: query.get("resourceVersion").to_owned(),
        resource_version_match: query.get("resourceVersionMatch").to_owned(),
    })
}

/// `ListOptions` of a watch.
///
/// # Errors
/// 422 for what does not go together.
pub fn watch(query: &Query) -> Result<WatchRequest, Status> {
    check_version_match(query, true)?;
    Ok(WatchRequest {
        label_selector: query.get("labelSelector").to_owned(),
        field_selector: query.get("fieldSelector").to_owned(),
        resource_version: query.get("resourceVersion").to_owned(),
        send_initial_events: query.is_set("sendInitialEvents"),
        bookmarks: query.is_set("allowWatchBookmarks"),
        timeout_seconds: query.get("timeoutSeconds").parse().unwrap_or(0),
    })
}

fn check_version_match(query: &Query, is_watch: bool) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let path = Path::new("resourceVersionMatch");
    let wish = query.get("resourceVersionMatch");
    let version = query.get("resourceVersion");
    let initial = query.find("sendInitialEvents");
    if is_watch {
        if initial.is_some() {
            if wish != "NotOlderThan" {
                errors.push(FieldError::forbidden(
                    &path,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            if !wish.is_empty() && wish != "NotOlderThan" {
                errors.push(FieldError::not_supported(&path, wish, &["NotOlderThan"]));
            }
        } else if !wish.is_empty() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        return invalid("ListOptions", errors);
    }
    if !wish.is_empty() {
        if version.is_empty() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !query.get("continue").is_empty() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(wish, "Exact" | "NotOlderThan") {
            let supported = ["Exact", "NotOlderThan"];
            errors.push(FieldError::not_supported(&path, wish, &supported));
        }
        if wish == "Exact" && version == "0" {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if initial.is_some() {
        let path = Path::new("sendInitialEvents");
        errors.push(FieldError::forbidden(
            &path,
            "sendInitialEvents is forbidden for list",
        ));
    }
    invalid("ListOptions", errors)
}

/// `DeleteOptions`, from the body or, without one, from the query.
///
/// # Errors
/// 422 for values that do not exist or go together.
pub fn delete(query: &Query, body: Option<&Value>) -> Result<DeleteRequest, Status> {
    let empty = Value::Null;
    let body = body.unwrap_or(&empty);
    let text = |field: &str| {
        let own = body[field].as_str().map(str::to_owned);
        own.or_else(|| query.find(field).map(str::to_owned))
    };
    let grace = body["gracePeriodSeconds"].as_i64();
    let grace = grace.or_else(|| query.get("gracePeriodSeconds").parse().ok());
    let orphan_dependents = body["orphanDependents"].as_bool().or_else(|| {
        query
            .find("orphanDependents")
            .map(|_| query.is_set("orphanDependents"))
    });
    let mut errors = FieldErrors::new();
    let path = Path::new("propagationPolicy");
    let policy = match text("propagationPolicy").as_deref() {
        None | Some("") => None,
        Some("Foreground") => Some(PropagationPolicy::Foreground),
        Some("Background") => Some(PropagationPolicy::Background),
        Some("Orphan") => Some(PropagationPolicy::Orphan),
        Some(other) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported(&path, other, &supported));
            None
        }
    };
    if policy.is_some() && orphan_dependents.is_some() {
        errors.push(FieldError::invalid(
            &path,
            text("propagationPolicy").unwrap_or_default(),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    invalid("DeleteOptions", errors)?;
    let own = body["dryRun"].as_array().into_iter().flatten();
    let own: Vec<&str> = own.filter_map(Value::as_str).collect();
    let dry_run = check_dry_run(own.into_iter().chain(query.all("dryRun")), "DeleteOptions")?;
    let precondition = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
    Ok(DeleteRequest {
        options: DeleteOptions {
            grace_period_seconds: grace,
            preconditions: Preconditions {
                uid: precondition("uid"),
                resource_version: precondition("resourceVersion"),
            },
            propagation_policy: policy,
        },
        orphan_dependents,
        dry_run,
    })
}

//! The one place where errors of the parts below become a `Status`.

use crate::codec::CodecError;
use kontiki_auth::AuthnError;
use kontiki_kinds::{FieldErrors, Kind};
use kontiki_object::{Cause, Details, SelectorError, Status};
use kontiki_patch::PatchError;
use kontiki_store::StoreError;

/// A store that failed.
#[must_use]
pub fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided watch is too old.")
        }
        StoreError::FutureRevision => too_large_resource_version(0, 0),
        StoreError::RequestTooLarge => {
            let mut status = Status::failure(
                413,
                "RequestEntityTooLarge",
                format!("Request entity too large: {error}"),
            );
            status.details = Some(Details::default());
            status
        }
        StoreError::NoLeader
        | StoreError::Timeout
        | StoreError::TimeoutLeaderFailure
        | StoreError::Stopped => {
            let mut status = Status::timeout(error.to_string(), 1);
            "ServerTimeout".clone_into(&mut status.reason);
            status.code = 500;
            status
        }
        StoreError::TooManyRequests => Status::too_many_requests(error.to_string(), 1),
        other => Status::internal(other),
    }
}

/// A stored value that cannot be read.
#[must_use]
pub fn from_codec(error: &CodecError, key: &str) -> Status {
    Status::internal(format!("{error} (key {key:?})"))
}

/// Complaints about an object.
#[must_use]
pub fn invalid(kind: &Kind, name: &str, errors: FieldErrors) -> Status {
    let causes: Vec<Cause> = errors.into_iter().map(Cause::from).collect();
    // The group is that of the stored form: events are core's.
    let group = match (&kind.storage, &kind.conversion) {
        (Some(storage), Some(_)) => storage
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group),
        _ => &kind.group,
    };
    Status::invalid(group, &kind.kind, name, causes)
}

/// Credentials that were not accepted.
#[must_use]
pub fn from_authn(error: &AuthnError) -> Status {
    match error {
        AuthnError::Invalid(_) | AuthnError::Unavailable(_) => Status::unauthorized(),
    }
}

/// A label or field selector that cannot be read.
#[must_use]
pub fn from_selector(error: &SelectorError) -> Status {
    Status::bad_request(error.to_string())
}

/// 504: the version lies in the future of this server.
#[must_use]
pub fn too_large_resource_version(asked: i64, current: i64) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = Status::timeout(format!("Timeout: {message}"), 1);
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            ..Cause::default()
        }];
    }
    status
}

/// 410 for a watch that starts before what is known.
#[must_use]
pub fn too_old_resource_version(asked: i64, oldest: i64) -> Status {
    Status::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// The sentence that clients look for when a patch or body is no JSON.
#[must_use]
pub fn undecodable(error: impl std::fmt::Display) -> Status {
    Status::bad_request(error.to_string())
}

/// 415.
#[must_use]
pub fn unsupported_media_type(accepted: &[&str]) -> Status {
    Status::failure(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}

/// 406.
#[must_use]
pub fn not_acceptable(accepted: &[&str]) -> Status {
    Status::failure(
        406,
        "NotAcceptable",
        format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        ),
    )
}

/// 413.
#[must_use]
pub fn body_too_large(limit: usize) -> Status {
    Status::failure(
        413,
        "RequestEntityTooLarge",
        format!("Request entity too large: limit is {limit}"),
    )
}

/// A patch that cannot be applied.
#[must_use]
pub fn from_patch(error: &PatchError) -> Status {
    match error {
        PatchError::Malformed(text) => Status::bad_request(text.clone()),
        PatchError::Unprocessable { reason } => {
            tracing::debug!(reason, "a patch does not fit its object");
            let mut status = Status::failure(422, "Invalid", error.to_string());
            status.details = Some(Details::default());
            status
        }
        PatchError::Unfit { patch, detail } => {
            let cause = Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: format!("Invalid value: {patch:?}: {detail}"),
                field: "patch".to_owned(),
            };
            Status::invalid("", "", "", vec![cause])
        }
        PatchError::TooLarge(text) => Status::failure(413, "RequestEntityTooLarge", text.clone()),
        PatchError::Internal(text) => Status::failure(500, "", text.clone()),
    }
}

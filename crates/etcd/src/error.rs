//! Store errors as gRPC statuses: etcd's code for each of its texts.

use kontiki_store::StoreError;
use tonic::{Code, Status};

/// The status that etcd answers for an error.
#[must_use]
pub fn status(error: &StoreError) -> Status {
    Status::new(code(error), error.to_string())
}

pub(crate) fn into_status(error: StoreError) -> Status {
    status(&error)
}

fn code(error: &StoreError) -> Code {
    match error {
        StoreError::EmptyKey
        | StoreError::KeyNotFound
        | StoreError::ValueProvided
        | StoreError::LeaseProvided
        | StoreError::TooManyOps
        | StoreError::DuplicateKey
        | StoreError::InvalidSortOption
        | StoreError::RequestTooLarge => Code::InvalidArgument,
        StoreError::Compacted { .. }
        | StoreError::FutureRevision
        | StoreError::LeaseTtlTooLarge => Code::OutOfRange,
        StoreError::NoSpace | StoreError::TooManyRequests => Code::ResourceExhausted,
        StoreError::LeaseNotFound => Code::NotFound,
        StoreError::LeaseExists => Code::FailedPrecondition,
        StoreError::NoLeader
        | StoreError::Timeout
        | StoreError::TimeoutLeaderFailure
        | StoreError::Stopped => Code::Unavailable,
        StoreError::Corrupt(_) => Code::DataLoss,
        StoreError::Internal(_) => Code::Unknown,
    }
}

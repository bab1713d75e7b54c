//! Store errors as gRPC statuses: etcd's code for each of its texts.

use kontiki_store::{AuthError, MemberError, StoreError};
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
        StoreError::Auth(error) => auth_code(error),
        StoreError::Member(error) => member_code(error),
        StoreError::Corrupt(_) => Code::DataLoss,
        StoreError::Internal(_) => Code::Unknown,
    }
}

fn auth_code(error: &AuthError) -> Code {
    match error {
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::Failed
        | AuthError::PermissionNotGiven
        | AuthError::NoPasswordUser
        | AuthError::InvalidManagement
        | AuthError::OldRevision => Code::InvalidArgument,
        AuthError::PermissionDenied => Code::PermissionDenied,
        AuthError::InvalidToken => Code::Unauthenticated,
        AuthError::RootUserMissing
        | AuthError::RootRoleMissing
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
    }
}

fn member_code(error: &MemberError) -> Code {
    match error {
        MemberError::NotFound => Code::NotFound,
        MemberError::BadAddress => Code::InvalidArgument,
        MemberError::Unhealthy | MemberError::Busy | MemberError::TransferTimeout => {
            Code::Unavailable
        }
        // etcd lets this one through without a code of its own.
        MemberError::LastVoter => Code::Unknown,
        MemberError::Unsupported => Code::Unimplemented,
        MemberError::IdExists
        | MemberError::AddressExists
        | MemberError::NotLearner
        | MemberError::LearnerNotReady
        | MemberError::NotEnoughStarted
        | MemberError::NotLeader
        | MemberError::BadTransferee => Code::FailedPrecondition,
    }
}

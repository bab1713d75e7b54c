//! `authorization.k8s.io/v1` `SelfSubjectAccessReview`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::virtual_kind(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
    )
}

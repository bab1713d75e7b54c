//! `authorization.k8s.io/v1` `LocalSubjectAccessReview`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind {
        namespaced: true,
        ..Kind::virtual_kind(
            "authorization.k8s.io",
            "v1",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
        )
    }
}

//! `authentication.k8s.io/v1` `TokenReview`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::virtual_kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews")
}

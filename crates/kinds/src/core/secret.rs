//! `core/v1` `Secret`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("", "v1", "Secret", "secrets")
}

//! `core/v1` `Binding`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind {
        namespaced: true,
        ..Kind::virtual_kind("", "v1", "Binding", "bindings")
    }
}

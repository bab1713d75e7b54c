//! `apps/v1` `ControllerRevision`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")
}

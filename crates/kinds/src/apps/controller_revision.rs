//! `apps/v1` `ControllerRevision`.

use crate::Kind;
use crate::rules::Rules;

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")
    }
}

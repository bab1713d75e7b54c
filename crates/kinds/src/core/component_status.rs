//! `core/v1` `ComponentStatus`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        verbs: texts(&["get", "list"]),
        list_kind: "ComponentStatusList".into(),
        short_names: texts(&["cs"]),
        ..Kind::virtual_kind("", "v1", "ComponentStatus", "componentstatuses")
    }
}

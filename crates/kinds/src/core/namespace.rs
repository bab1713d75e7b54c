//! `core/v1` `Namespace`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        verbs: texts(&[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ]),
        short_names: texts(&["ns"]),
        subresources: vec![
            Subresource::new("finalize", "", "Namespace", &["update"]),
            Subresource::status("Namespace"),
        ],
        ..Kind::cluster("", "v1", "Namespace", "namespaces")
    }
}

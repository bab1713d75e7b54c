//! `flowcontrol.apiserver.k8s.io/v1` `PriorityLevelConfiguration`.

use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("PriorityLevelConfiguration")],
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
        )
    }
}

//! `flowcontrol.apiserver.k8s.io/v1` `FlowSchema`.

use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("FlowSchema")],
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "flowschemas",
        )
    }
}

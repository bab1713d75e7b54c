//! `apiregistration.k8s.io/v1` `APIService`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        subresources: vec![Subresource::status("APIService")],
        ..Kind::cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices")
            .stored_at("/registry/apiregistration.k8s.io/apiservices")
    }
}

//! `apps/v1` `Deployment`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["deploy"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("Deployment")],
        ..Kind::namespaced("apps", "v1", "Deployment", "deployments")
    }
}

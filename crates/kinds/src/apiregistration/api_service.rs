//! `apiregistration.k8s.io/v1` `APIService`.

use crate::Tree;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::tree::{default, map_mut_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        subresources: vec![Subresource::status("APIService")],
        defaults,
        strategy: Rules {
            // `v1.` is the name of the core group's version.
            name: names::path_segment,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices")
            .stored_at("/registry/apiregistration.k8s.io/apiservices")
    }
}

fn defaults(object: &mut Tree) {
    if let Some(service) = map_mut_at(object, &["spec", "service"]) {
        default(service, "port", 443);
    }
}

//! `resource.k8s.io/v1` `ResourceClaimTemplate`.

use crate::Kind;
use crate::Tree;
use crate::rules::Rules;
use crate::tree::map_mut_at;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced(
            "resource.k8s.io",
            "v1",
            "ResourceClaimTemplate",
            "resourceclaimtemplates",
        )
    }
}

fn defaults(object: &mut Tree) {
    if let Some(spec) = map_mut_at(object, &["spec", "spec"]) {
        super::resource_claim::spec_defaults(spec);
    }
}

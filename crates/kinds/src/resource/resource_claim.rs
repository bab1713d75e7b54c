//! `resource.k8s.io/v1` `ResourceClaim`.

use crate::Tree;
use crate::rules::Rules;
use crate::tree::{default, default_nonzero, map_mut, maps_mut, text};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ResourceClaim")],
        defaults,
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims")
    }
}

/// Defaults of a claim's spec.
pub(crate) fn spec_defaults(spec: &mut Tree) {
    let Some(devices) = map_mut(spec, "devices") else {
        return;
    };
    for request in maps_mut(devices, "requests") {
        if let Some(exactly) = map_mut(request, "exactly") {
            request_defaults(exactly);
        }
        for one in maps_mut(request, "firstAvailable") {
            request_defaults(one);
        }
    }
}

fn request_defaults(request: &mut Tree) {
    default(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        default_nonzero(request, "count", 1);
    }
}

fn defaults(object: &mut Tree) {
    if let Some(spec) = map_mut(object, "spec") {
        spec_defaults(spec);
    }
}

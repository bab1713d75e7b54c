//! `resource.k8s.io/v1` `ResourceClaim`.

use crate::Tree;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, default_nonzero, list_at, map_at, map_mut, maps_mut, text, text_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ResourceClaim")],
        defaults,
        strategy: Rules {
            parts_keep_metadata: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "State",
            "string",
            "A summary of the current state (allocated, pending, reserved, etc.).",
            |o, _| state(o).into(),
        ),
        Column::age(),
    ]
}

fn state(claim: &Tree) -> String {
    let is_deleted = !text_at(claim, &["metadata", "deletionTimestamp"]).is_empty();
    let mut states = Vec::new();
    if is_deleted {
        states.push("deleted");
    }
    if map_at(claim, &["status", "allocation"]).is_some() {
        states.push("allocated");
        if !list_at(claim, &["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !is_deleted {
        states.push("pending");
    }
    states.join(",")
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

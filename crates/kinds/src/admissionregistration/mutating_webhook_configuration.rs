//! `admissionregistration.k8s.io/v1` `MutatingWebhookConfiguration`.

use super::webhooks;
use crate::Kind;
use crate::Tree;
use crate::tree::{default, maps_mut};

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        ..webhooks::configuration(
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        )
    }
}

fn defaults(object: &mut Tree) {
    webhooks::defaults(object);
    for webhook in maps_mut(object, "webhooks") {
        default(webhook, "reinvocationPolicy", "Never");
    }
}

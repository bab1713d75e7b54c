//! `admissionregistration.k8s.io/v1` `MutatingWebhookConfiguration`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, maps_mut};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        defaults,
        strategy: Rules {
            generation: &["webhooks"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        )
    }
}

fn defaults(object: &mut Tree) {
    super::validating_webhook_configuration::webhook_defaults(object);
    for webhook in maps_mut(object, "webhooks") {
        default(webhook, "reinvocationPolicy", "Never");
    }
}

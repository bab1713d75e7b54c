//! `admissionregistration.k8s.io/v1` `ValidatingWebhookConfiguration`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, make, map_mut_at, maps_mut};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        defaults: webhook_defaults,
        strategy: Rules {
            generation: &["webhooks"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
    }
}

/// Defaults that both kinds of webhooks share.
pub(crate) fn webhook_defaults(object: &mut Tree) {
    for webhook in maps_mut(object, "webhooks") {
        default(webhook, "failurePolicy", "Fail");
        default(webhook, "timeoutSeconds", 10);
        match_defaults(webhook);
        for rule in maps_mut(webhook, "rules") {
            default(rule, "scope", "*");
        }
        if let Some(service) = map_mut_at(webhook, &["clientConfig", "service"]) {
            default(service, "port", 443);
        }
    }
}

/// Defaults of what decides which requests are meant.
pub(crate) fn match_defaults(parent: &mut Tree) {
    default(parent, "matchPolicy", "Equivalent");
    make(parent, "namespaceSelector");
    make(parent, "objectSelector");
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in maps_mut(parent, field) {
            default(rule, "scope", "*");
        }
    }
}

//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicyBinding`.

use crate::Kind;
use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::map_mut_at;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        defaults: binding_defaults,
        strategy: Rules {
            generation: &["spec"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
        )
    }
}

/// Defaults that both kinds of bindings share.
pub(crate) fn binding_defaults(object: &mut Tree) {
    if let Some(resources) = map_mut_at(object, &["spec", "matchResources"]) {
        super::validating_webhook_configuration::match_defaults(resources);
    }
}

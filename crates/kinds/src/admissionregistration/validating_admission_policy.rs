//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicy`.

use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::tree::{default, map_mut};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        subresources: vec![Subresource::status("ValidatingAdmissionPolicy")],
        defaults: policy_defaults,
        strategy: Rules {
            generation: &["spec"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
        )
    }
}

/// Defaults that both kinds of policies share.
pub(crate) fn policy_defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    default(spec, "failurePolicy", "Fail");
    if let Some(constraints) = map_mut(spec, "matchConstraints") {
        super::validating_webhook_configuration::match_defaults(constraints);
    }
}

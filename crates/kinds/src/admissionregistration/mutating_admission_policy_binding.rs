//! `admissionregistration.k8s.io/v1` `MutatingAdmissionPolicyBinding`.

use crate::kind::texts;
use crate::rules::Rules;
use crate::{Kind, Storage};

pub(crate) fn kind() -> Kind {
    Kind {
        // Upstream still writes the beta form.
        storage: Some(Storage::new(
            "/registry/mutatingadmissionpolicybindings".into(),
            "admissionregistration.k8s.io/v1beta1".into(),
        )),
        categories: texts(&["api-extensions"]),
        defaults: super::validating_admission_policy_binding::binding_defaults,
        strategy: Rules {
            generation: &["spec"],
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
        )
    }
}

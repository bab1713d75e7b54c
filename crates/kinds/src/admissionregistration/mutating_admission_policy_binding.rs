//! `admissionregistration.k8s.io/v1` `MutatingAdmissionPolicyBinding`.

use super::policies::{self, binding_columns, binding_defaults, validate_binding};
use crate::{Kind, Storage};

pub(crate) fn kind() -> Kind {
    Kind {
        // Upstream still writes the beta form.
        storage: Some(Storage::new(
            "/registry/mutatingadmissionpolicybindings".into(),
            "admissionregistration.k8s.io/v1beta1".into(),
        )),
        ..policies::policy(
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            binding_defaults,
            validate_binding,
            binding_columns(),
        )
    }
}

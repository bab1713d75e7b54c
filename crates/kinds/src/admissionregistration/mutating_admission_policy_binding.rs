//! `admissionregistration.k8s.io/v1` `MutatingAdmissionPolicyBinding`.

use crate::kind::texts;
use crate::{Kind, Storage};

pub(crate) fn kind() -> Kind {
    Kind {
        // Upstream still writes the beta form.
        storage: Some(Storage::new(
            "/registry/mutatingadmissionpolicybindings".into(),
            "admissionregistration.k8s.io/v1beta1".into(),
        )),
        categories: texts(&["api-extensions"]),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
        )
    }
}

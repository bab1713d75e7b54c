//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicyBinding`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
        )
    }
}

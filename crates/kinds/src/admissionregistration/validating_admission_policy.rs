//! `admissionregistration.k8s.io/v1` `ValidatingAdmissionPolicy`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        subresources: vec![Subresource::status("ValidatingAdmissionPolicy")],
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
        )
    }
}

//! `admissionregistration.k8s.io/v1` `MutatingWebhookConfiguration`.

use crate::Kind;
use crate::kind::texts;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        ..Kind::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        )
    }
}

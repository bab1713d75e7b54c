//! `admissionregistration.k8s.io/v1` `ValidatingWebhookConfiguration`.

use super::webhooks;
use crate::Kind;

pub(crate) fn kind() -> Kind {
    webhooks::configuration(
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
}

//! The kinds of the group `admissionregistration.k8s.io`.

mod checks;
pub mod expressions;
mod policies;
mod webhooks;

pub(crate) mod mutating_admission_policy;
pub(crate) mod mutating_admission_policy_binding;
pub(crate) mod mutating_webhook_configuration;
pub(crate) mod validating_admission_policy;
pub(crate) mod validating_admission_policy_binding;
pub(crate) mod validating_webhook_configuration;

//! Every built-in kind, in the order in which discovery shows them.

use crate::kind::Kind;
use crate::{
    admissionregistration, apiextensions, apiregistration, apps, authentication, authorization,
    autoscaling, batch, certificates, coordination, core, discovery, events, flowcontrol,
    networking, node, policy, rbac, resource, scheduling, storage,
};
use std::sync::{Arc, OnceLock};

/// One line a kind.
const KINDS: [fn() -> Kind; 68] = [
    core::binding::kind,
    core::component_status::kind,
    core::config_map::kind,
    core::endpoints::kind,
    core::event::kind,
    core::limit_range::kind,
    core::namespace::kind,
    core::node::kind,
    core::persistent_volume_claim::kind,
    core::persistent_volume::kind,
    core::pod::kind,
    core::pod_template::kind,
    core::replication_controller::kind,
    core::resource_quota::kind,
    core::secret::kind,
    core::service_account::kind,
    core::service::kind,
    apiregistration::api_service::kind,
    apps::controller_revision::kind,
    apps::daemon_set::kind,
    apps::deployment::kind,
    apps::replica_set::kind,
    apps::stateful_set::kind,
    events::event::kind,
    authentication::self_subject_review::kind,
    authentication::token_review::kind,
    authorization::local_subject_access_review::kind,
    authorization::self_subject_access_review::kind,
    authorization::self_subject_rules_review::kind,
    authorization::subject_access_review::kind,
    autoscaling::horizontal_pod_autoscaler::kind,
    autoscaling::horizontal_pod_autoscaler_v1::kind,
    batch::cron_job::kind,
    batch::job::kind,
    certificates::certificate_signing_request::kind,
    networking::ingress_class::kind,
    networking::ingress::kind,
    networking::ip_address::kind,
    networking::network_policy::kind,
    networking::service_cidr::kind,
    policy::pod_disruption_budget::kind,
    rbac::cluster_role_binding::kind,
    rbac::cluster_role::kind,
    rbac::role_binding::kind,
    rbac::role::kind,
    storage::csi_driver::kind,
    storage::csi_node::kind,
    storage::csi_storage_capacity::kind,
    storage::storage_class::kind,
    storage::volume_attachment::kind,
    storage::volume_attributes_class::kind,
    admissionregistration::mutating_admission_policy::kind,
    admissionregistration::mutating_admission_policy_binding::kind,
    admissionregistration::mutating_webhook_configuration::kind,
    admissionregistration::validating_admission_policy::kind,
    admissionregistration::validating_admission_policy_binding::kind,
    admissionregistration::validating_webhook_configuration::kind,
    apiextensions::custom_resource_definition::kind,
    scheduling::priority_class::kind,
    coordination::lease::kind,
    node::runtime_class::kind,
    discovery::endpoint_slice::kind,
    resource::device_class::kind,
    resource::resource_claim::kind,
    resource::resource_claim_template::kind,
    resource::resource_slice::kind,
    flowcontrol::flow_schema::kind,
    flowcontrol::priority_level_configuration::kind,
];

/// Every built-in kind, in the order in which discovery shows them.
#[must_use]
pub fn all() -> &'static [Arc<Kind>] {
    static ALL: OnceLock<Vec<Arc<Kind>>> = OnceLock::new();
    ALL.get_or_init(|| KINDS.iter().map(|kind| Arc::new(kind())).collect())
}

/// The kind of a resource.
#[must_use]
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Arc<Kind>> {
    all()
        .iter()
        .find(|kind| kind.plural == resource && kind.version == version && kind.group == group)
}

/// A kind by its name.
#[must_use]
pub fn find_kind(group: &str, version: &str, name: &str) -> Option<&'static Arc<Kind>> {
    all()
        .iter()
        .find(|kind| kind.kind == name && kind.version == version && kind.group == group)
}

#[cfg(test)]
mod tests;

//! Every controller, one line each.

use crate::Controller;
use crate::deployment::DeploymentController;
use crate::endpoint_slice::EndpointSliceController;
use crate::endpoints::EndpointsController;
use crate::namespace::NamespaceController;
use crate::node_ipam::NodeIpamController;
use crate::node_lifecycle::NodeLifecycleController;
use crate::replica_set::ReplicaSetController;
use crate::root_ca::RootCaPublisher;
use crate::service_account::ServiceAccountController;
use crate::taint_eviction::TaintEvictionController;
use std::sync::Arc;

/// Every controller.
#[must_use]
pub fn all() -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(ServiceAccountController),
        Arc::new(RootCaPublisher),
        Arc::new(NamespaceController),
        Arc::new(NodeIpamController),
        Arc::new(NodeLifecycleController::default()),
        Arc::new(TaintEvictionController),
        Arc::new(EndpointsController),
        Arc::new(EndpointSliceController),
        Arc::new(DeploymentController),
        Arc::new(ReplicaSetController::replica_sets()),
        Arc::new(ReplicaSetController::replication_controllers()),
    ]
}

/// The names of all controllers.
#[must_use]
pub fn names() -> Vec<&'static str> {
    all().iter().map(|controller| controller.name()).collect()
}

/// The name under which a controller's events are known: older than the
/// controllers' present names.
pub(crate) fn event_source(name: &'static str) -> &'static str {
    match name {
        "cronjob-controller" => "cronjob-controller",
        "node-lifecycle-controller" => "node-controller",
        "taint-eviction-controller" => "taint-eviction-controller",
        "disruption-controller" => "controllermanager",
        "replicationcontroller-controller" => "replication-controller",
        "endpointslice-controller" => "endpoint-slice-controller",
        "endpoints-controller" => "endpoint-controller",
        other => other,
    }
}

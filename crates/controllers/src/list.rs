//! Every controller, one line each.

use crate::Controller;
use crate::certificates::{CsrApprover, CsrCleaner, CsrSigner};
use crate::cluster_role_aggregation::ClusterRoleAggregationController;
use crate::cron_job::CronJobController;
use crate::daemon_set::DaemonSetController;
use crate::deployment::DeploymentController;
use crate::endpoint_slice::EndpointSliceController;
use crate::endpoints::EndpointsController;
use crate::garbage_collector::GarbageCollector;
use crate::job::JobController;
use crate::namespace::NamespaceController;
use crate::node_ipam::NodeIpamController;
use crate::node_lifecycle::NodeLifecycleController;
use crate::pod_gc::PodGarbageCollector;
use crate::replica_set::ReplicaSetController;
use crate::root_ca::RootCaPublisher;
use crate::service_account::ServiceAccountController;
use crate::stateful_set::StatefulSetController;
use crate::taint_eviction::TaintEvictionController;
use crate::token_cleaner::TokenCleaner;
use crate::ttl_after_finished::TtlAfterFinishedController;
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
        Arc::new(GarbageCollector),
        Arc::new(JobController),
        Arc::new(DaemonSetController),
        Arc::new(StatefulSetController),
        Arc::new(CronJobController),
        Arc::new(TtlAfterFinishedController),
        Arc::new(PodGarbageCollector::default()),
        Arc::new(CsrApprover),
        Arc::new(CsrSigner),
        Arc::new(CsrCleaner),
        Arc::new(ClusterRoleAggregationController),
        Arc::new(TokenCleaner),
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

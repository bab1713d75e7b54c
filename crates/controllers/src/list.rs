//! Every controller, one line each.

use crate::Controller;
use crate::certificates::{CsrApprover, CsrCleaner, CsrSigner};
use crate::cluster_role_aggregation::ClusterRoleAggregationController;
use crate::cron_job::CronJobController;
use crate::daemon_set::DaemonSetController;
use crate::deployment::DeploymentController;
use crate::disruption::DisruptionController;
use crate::endpoint_slice::EndpointSliceController;
use crate::endpoints::EndpointsController;
use crate::garbage_collector::GarbageCollector;
use crate::job::JobController;
use crate::namespace::NamespaceController;
use crate::node_ipam::NodeIpamController;
use crate::node_lifecycle::NodeLifecycleController;
use crate::pod_gc::PodGarbageCollector;
use crate::replica_set::ReplicaSetController;
use crate::resource_quota::ResourceQuotaController;
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
        Arc::new(DisruptionController),
        Arc::new(ResourceQuotaController),
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

/// The service account in `kube-system` that a controller acts as: named like
/// the role `system:controller:…` that holds its rights.
pub(crate) fn service_account(name: &'static str) -> &'static str {
    match name {
        "serviceaccount-controller" => "service-account-controller",
        "root-ca-certificate-publisher-controller" => "root-ca-cert-publisher",
        "node-ipam-controller" | "node-lifecycle-controller" | "taint-eviction-controller" => {
            "node-controller"
        }
        "garbage-collector-controller" => "generic-garbage-collector",
        "daemonset-controller" => "daemon-set-controller",
        "pod-garbage-collector-controller" => "pod-garbage-collector",
        "certificatesigningrequest-approving-controller"
        | "certificatesigningrequest-signing-controller"
        | "certificatesigningrequest-cleaner-controller" => "certificate-controller",
        "token-cleaner-controller" => "token-cleaner",
        "endpoints-controller" => "endpoint-controller",
        "replicationcontroller-controller" => "replication-controller",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, ControllerManager, ServedResource};
    use kontiki_client::testing::MemoryApi;
    use kontiki_client::{Client, Clock, QueueMetrics, resources};
    use serde_json::json;
    use std::collections::BTreeSet;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn every_controller_has_a_name_of_its_own() {
        let names = names();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| name.ends_with("-controller")));
    }

    #[tokio::test(start_paused = true)]
    async fn controllers_work_only_while_leading_and_rest_when_there_is_nothing_to_do() {
        let clock = Clock::following_tokio(crate::scenario::START.parse().expect("a time"));
        let api = Arc::new(MemoryApi::new(clock.clone()));
        let client = Client::new(api.clone(), "test");
        let served: Arc<[ServedResource]> = Arc::new([]);
        let (_sender, served) = watch::channel(served);
        let life = CancellationToken::new();
        let metrics = QueueMetrics::default();
        let config = Config::new(served);
        let writer = client.clone();
        let all = ControllerManager::new(
            client.clone(),
            Arc::new(move |_: &str| writer.clone()),
            config,
            "a",
            clock,
            metrics,
            life.clone(),
        );
        let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        client
            .resource(&resources::NAMESPACES)
            .create(tree)
            .await
            .expect("created");
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(api.writes().len(), 1, "a standby only watches");
        for name in ["first", "second"] {
            let term = CancellationToken::new();
            let wanted = api.objects(&resources::SERVICE_ACCOUNTS).len() + 1;
            let drive = async {
                api.wait_until(|api| api.objects(&resources::SERVICE_ACCOUNTS).len() == wanted)
                    .await;
                tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
                term.cancel();
            };
            tokio::join!(all.run(term.clone()), drive);
            let writes = api.writes().len();
            let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            client
                .resource(&resources::NAMESPACES)
                .create(tree)
                .await
                .expect("created");
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
            assert_eq!(
                api.writes().len(),
                writes + 1,
                "after its term it only watches"
            );
        }
        life.cancel();
    }
}

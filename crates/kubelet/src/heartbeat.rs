//! Saying that the node lives.

use async_trait::async_trait;
use kontiki_client::{Client, Clock, PatchKind, resources};
use kontiki_object::{Status, time};
use serde_json::json;

/// The namespace of the nodes' leases.
const NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: u32 = 40;

/// A way to say that the node lives.
#[async_trait]
pub trait Heartbeat: Send + Sync + 'static {
    /// Says so once.
    async fn beat(&self, node_name: &str) -> Result<(), Status>;
}

/// Renews the node's `Lease` itself, as upstream's kubelet does.
pub struct LeaseHeartbeat {
    client: Client,
    clock: Clock,
}

impl LeaseHeartbeat {
    /// Renews through `client`.
    #[must_use]
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock }
    }
}

#[async_trait]
impl Heartbeat for LeaseHeartbeat {
    async fn beat(&self, node_name: &str) -> Result<(), Status> {
        let leases = self.client.namespaced(&resources::LEASES, NAMESPACE);
        let renewed = time::format_micro(self.clock.now());
        match leases
            .patch(
                node_name,
                PatchKind::Merge,
                json!({"spec": {"renewTime": renewed}}),
            )
            .await
        {
            Err(status) if status.is_not_found() => {}
            answer => return answer.map(drop),
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": node_name, "namespace": NAMESPACE},
            "spec": {"holderIdentity": node_name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
        });
        leases.create(lease).await.map(drop)
    }
}

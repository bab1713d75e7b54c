//! The Service by which the cluster's DNS is known.
//!
//! Every agent serves DNS on the Service's own address, so no endpoints and no
//! rules are needed; the object reserves the address and lets people find it.

use crate::config::ServerConfig;
use kontiki_client::{Client, resources};
use serde_json::{Value, json};
use std::time::Duration;

const RETRY: Duration = Duration::from_secs(1);

fn service(config: &ServerConfig) -> Value {
    let address = config.dns_address();
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "targetPort": 53, "protocol": protocol});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/name": "CoreDNS",
                // No service proxy shall make rules for it.
                "service.kubernetes.io/service-proxy-name": "kontiki-dns",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    })
}

/// Makes sure that the Service is there; tries until it is.
pub async fn ensure(client: Client, config: ServerConfig) {
    let services = client.namespaced(&resources::SERVICES, "kube-system");
    loop {
        match services.create(service(&config)).await {
            Ok(_) => return,
            Err(status) if status.is_already_exists() => return,
            Err(status) => tracing::debug!(%status, "the DNS Service is not there yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

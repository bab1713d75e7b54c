//! What every cluster holds from the start. Every server makes sure of it
//! after its own start; whoever comes second finds it done.

mod endpoints;
mod flow_control;

use crate::allocate;
use crate::server::ApiServer;
use kontiki_auth::UserInfo;
use kontiki_auth::policy::{Write, bootstrap_policy, reconcile};
use kontiki_auth::user::{API_SERVER, MASTERS};
use kontiki_client::{Client, DeleteOptions};
use kontiki_object::{GroupVersionResource, Status, Value};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

const fn resource(
    group: &'static str,
    version: &'static str,
    name: &'static str,
) -> GroupVersionResource {
    GroupVersionResource::new(group, version, name)
}

/// Creates an object unless it is there.
async fn ensure(
    client: &Client,
    resource: &GroupVersionResource,
    object: Value,
) -> Result<(), Status> {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (namespace, name) = (text("namespace"), text("name"));
    let scoped = client.scoped(resource, &namespace);
    if scoped.get_opt(&name).await?.is_some() {
        return Ok(());
    }
    match scoped.create(object).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

impl ApiServer {
    /// Makes sure of everything, again and again until it is done or `cancel`;
    /// then keeps this server's record in the endpoints of `kubernetes`.
    pub async fn bootstrap(&self, cancel: CancellationToken) {
        let client = Client::new(
            self.api(UserInfo::new(API_SERVER, &[MASTERS])),
            "kube-apiserver",
        );
        tokio::join!(
            self.ensure_until_done(&client, &cancel),
            endpoints::keep(self, &client, cancel.clone()),
        );
    }

    async fn ensure_until_done(&self, client: &Client, cancel: &CancellationToken) {
        let mut told = String::new();
        loop {
            let Some(ensured) = cancel.run_until_cancelled(self.ensure_all(client)).await else {
                return;
            };
            match ensured {
                Ok(()) => break,
                Err(status) if status.message == told => {}
                Err(status) => {
                    tracing::warn!(%status, "the cluster's first objects are not all there yet");
                    told = status.message;
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        self.inner().set_populated();
        tracing::info!("the cluster's first objects are there");
    }

    async fn ensure_all(&self, client: &Client) -> Result<(), Status> {
        for name in NAMESPACES {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            });
            ensure(client, &resource("", "v1", "namespaces"), namespace).await?;
        }
        ensure_policy(client).await?;
        ensure_priority_classes(client).await?;
        flow_control::ensure_all(client).await?;
        self.ensure_network(client).await?;
        self.ensure_authentication(client).await?;
        self.ensure_api_services(client).await
    }

    async fn ensure_network(&self, client: &Client) -> Result<(), Status> {
        let config = &self.inner().config;
        let cidr = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [config.service_cidr.trunc().to_string()]},
        });
        ensure(
            client,
            &resource("networking.k8s.io", "v1", "servicecidrs"),
            cidr,
        )
        .await?;
        let address = allocate::first_address(config.service_cidr).to_string();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"provider": "kubernetes", "component": "apiserver"},
            },
            "spec": {
                "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP",
                "sessionAffinity": "None",
                "ports": [{
                    "name": "https", "port": 443, "protocol": "TCP",
                    "targetPort": config.advertise_address.port(),
                }],
            },
        });
        ensure(client, &resource("", "v1", "services"), service).await
    }

    /// What extension API servers authenticate clients with.
    async fn ensure_authentication(&self, client: &Client) -> Result<(), Status> {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "extension-apiserver-authentication", "namespace": "kube-system",
            },
            "data": {"client-ca-file": self.inner().config.client_ca_pem},
        });
        ensure(client, &resource("", "v1", "configmaps"), map).await
    }

    async fn ensure_api_services(&self, client: &Client) -> Result<(), Status> {
        let mut seen = Vec::new();
        for kind in self.registry().catalog().kinds().iter() {
            let id = (kind.group.to_string(), kind.version.to_string());
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let (group, version) = (&kind.group, &kind.version);
            let mut spec = json!({
                "version": version,
                "groupPriorityMinimum": if group.is_empty() { 18000 } else { 17000 },
                "versionPriority": if version == "v1" { 15 } else { 30 },
            });
            if !group.is_empty() {
                spec["group"] = group.clone().into();
            }
            let service = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {
                    "name": format!("{version}.{group}"),
                    "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
                },
                "spec": spec,
            });
            let services = resource("apiregistration.k8s.io", "v1", "apiservices");
            ensure(client, &services, service).await?;
            self.mark_available(client, &format!("{version}.{group}"))
                .await?;
        }
        Ok(())
    }

    async fn mark_available(&self, client: &Client, name: &str) -> Result<(), Status> {
        let services = client.resource(&resource("apiregistration.k8s.io", "v1", "apiservices"));
        let present = services.get(name).await?;
        if present.get(&["status", "conditions"]).is_some() {
            return Ok(());
        }
        let mut object = present.to_value();
        object["status"] = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": kontiki_object::time::format(jiff::Timestamp::now()),
        }]});
        services.update_status(name, object).await.map(drop)
    }
}

async fn ensure_policy(client: &Client) -> Result<(), Status> {
    for wanted in bootstrap_policy() {
        let scoped = client.scoped(&wanted.resource, wanted.object.namespace());
        let name = wanted.object.name();
        let present = scoped.get_opt(name).await?;
        let outcome = match reconcile(&wanted, present.as_deref()) {
            None => continue,
            Some(Write::Create { object, .. }) => scoped.create(object).await,
            Some(Write::Update { object, .. }) => scoped.update(name, object).await,
            Some(Write::Replace { object, .. }) => {
                scoped.delete(name, DeleteOptions::default()).await?;
                scoped.create(object).await
            }
        };
        match outcome {
            Err(status) if !status.is_already_exists() && !status.is_conflict() => {
                return Err(status);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn ensure_priority_classes(client: &Client) -> Result<(), Status> {
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000_i64,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    for (name, value, description) in classes {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        });
        ensure(
            client,
            &resource("scheduling.k8s.io", "v1", "priorityclasses"),
            class,
        )
        .await?;
    }
    Ok(())
}

//! Bringing a whole cluster up with an application on it.

use crate::app;
use crate::cluster::{Cluster, retry};
use crate::kubectl::Kubectl;
use crate::progress::Steps;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// Brings up what is not up yet; returns the application's page.
///
/// # Errors
/// At the first step that fails.
pub fn bring_up(steps: &Steps, cluster: &Cluster, kubectl: &Kubectl) -> Result<String> {
    steps.step("network namespaces", |_| cluster.network())?;
    steps.step("credentials", |_| cluster.credentials())?;
    steps.step("servers", |_| {
        cluster.start_servers()?;
        cluster.wait_ready(kubectl, Duration::from_secs(60))
    })?;
    steps.step("nodes", |step| {
        for node in cluster.topology.nodes() {
            step.note(&node.name);
            cluster.start_node(node, kubectl)?;
        }
        cluster.wait_nodes(kubectl, Duration::from_secs(60))
    })?;
    steps.step("application", |step| {
        retry(Duration::from_secs(20), || kubectl.apply(&app::manifest()))?;
        step.note("waiting for its pods");
        kubectl.run(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
        kubectl
            .run(&[
                "wait",
                "--for=condition=complete",
                "job/sum",
                "--timeout=60s",
            ])
            .map(drop)
    })?;
    steps.step("its page through the Service", |_| {
        cluster.fetch(service_address(kubectl, "web")?, Duration::from_secs(30))
    })
}

/// The cluster IP and first port of a Service.
///
/// # Errors
/// If it cannot be read or has none.
pub fn service_address(kubectl: &Kubectl, name: &str) -> Result<SocketAddr> {
    let path = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}";
    let address = kubectl.run(&["get", "service", name, "-o", path])?;
    address
        .trim()
        .parse()
        .with_context(|| format!("the Service {name} has no cluster IP"))
}

//! The checks of `/livez`, `/readyz` and `/healthz`, by upstream's names, which
//! probes and dashboards ask for one by one.
//!
//! Upstream names a check after every hook that runs at its start. Each stands
//! here for what the hook leads to: caches that are filled, or the cluster's
//! first objects.

use crate::server::{HealthCheck, Inner};
use std::sync::Arc;

/// What a hook has led to once it is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The watch cache shows what is stored.
    Filled,
    /// The cluster's first objects are there.
    Populated,
}

const HOOKS: [(&str, Stage); 32] = [
    (
        "poststarthook/start-apiserver-admission-initializer",
        Stage::Filled,
    ),
    (
        "poststarthook/generic-apiserver-start-informers",
        Stage::Filled,
    ),
    (
        "poststarthook/priority-and-fairness-config-consumer",
        Stage::Filled,
    ),
    ("poststarthook/priority-and-fairness-filter", Stage::Filled),
    (
        "poststarthook/storage-object-count-tracker-hook",
        Stage::Filled,
    ),
    ("poststarthook/start-apiextensions-informers", Stage::Filled),
    (
        "poststarthook/start-apiextensions-controllers",
        Stage::Filled,
    ),
    ("poststarthook/crd-informer-synced", Stage::Filled),
    (
        "poststarthook/start-system-namespaces-controller",
        Stage::Populated,
    ),
    (
        "poststarthook/peer-endpoint-reconciler-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/start-cluster-authentication-info-controller",
        Stage::Populated,
    ),
    (
        "poststarthook/start-kube-apiserver-identity-lease-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
        Stage::Filled,
    ),
    ("poststarthook/storage-readiness", Stage::Filled),
    (
        "poststarthook/start-legacy-token-tracking-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/start-service-ip-repair-controllers",
        Stage::Filled,
    ),
    ("poststarthook/rbac/bootstrap-roles", Stage::Populated),
    (
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        Stage::Populated,
    ),
    (
        "poststarthook/priority-and-fairness-config-producer",
        Stage::Populated,
    ),
    ("poststarthook/bootstrap-controller", Stage::Populated),
    (
        "poststarthook/start-kubernetes-service-cidr-controller",
        Stage::Populated,
    ),
    (
        "poststarthook/aggregator-reload-proxy-client-cert",
        Stage::Filled,
    ),
    (
        "poststarthook/start-kube-aggregator-informers",
        Stage::Filled,
    ),
    (
        "poststarthook/apiservice-status-local-available-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/apiservice-status-remote-available-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/apiservice-registration-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/apiservice-wait-for-first-sync",
        Stage::Populated,
    ),
    (
        "poststarthook/apiservice-discovery-controller",
        Stage::Filled,
    ),
    (
        "poststarthook/kube-apiserver-autoregistration",
        Stage::Populated,
    ),
    ("autoregister-completion", Stage::Populated),
    ("poststarthook/apiservice-openapi-controller", Stage::Filled),
    (
        "poststarthook/apiservice-openapiv3-controller",
        Stage::Filled,
    ),
];

/// The checks below one root (`livez`, `readyz`, `healthz`), in their order.
pub fn checks(inner: &Arc<Inner>, root: &str) -> Vec<(String, HealthCheck)> {
    let fine: HealthCheck = Arc::new(|| Ok(()));
    let mut all: Vec<(String, HealthCheck)> = Vec::with_capacity(HOOKS.len() + 5);
    let mut add = |name: &str, check: HealthCheck| all.push((name.to_owned(), check));
    add("ping", fine.clone());
    add("log", fine.clone());
    let is_readiness = root == "readyz";
    if is_readiness {
        add("informer-sync", stage(inner, Stage::Filled));
    } else {
        add("loopback-serving-certificate", fine.clone());
    }
    for (name, check) in inner.checks.read().iter() {
        // Who is ready reaches the store as well, but upstream has no name for it there.
        let name = if is_readiness && name == "etcd" {
            "etcd-readiness"
        } else {
            name
        };
        add(name, check.clone());
    }
    for (name, hook) in HOOKS {
        // Who still starts lives: that is no reason to be started again.
        let check = if root == "livez" {
            fine.clone()
        } else {
            stage(inner, hook)
        };
        add(name, check);
    }
    if is_readiness {
        let inner = inner.clone();
        add(
            "shutdown",
            Arc::new(move || match inner.is_stopping() {
                true => Err("process is shutting down".to_owned()),
                false => Ok(()),
            }),
        );
    }
    all
}

fn stage(inner: &Arc<Inner>, stage: Stage) -> HealthCheck {
    let inner = inner.clone();
    Arc::new(move || {
        let is_reached = match stage {
            Stage::Filled => inner.registry.cache().is_ready(),
            Stage::Populated => inner.is_populated(),
        };
        match (is_reached, stage) {
            (true, _) => Ok(()),
            (false, Stage::Filled) => Err("the watch cache is not filled yet".to_owned()),
            (false, Stage::Populated) => Err("not finished".to_owned()),
        }
    })
}

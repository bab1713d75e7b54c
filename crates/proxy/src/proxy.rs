//! Keeps the kernel's rules as the caches say.

use crate::conntrack::{forget, stale};
use crate::metrics::Metrics;
use crate::nft::{Nft, NftError, cleanup_script};
use crate::ruleset::{Family, Ruleset};
use crate::service::{ServicePort, service_ports};
use ipnet::IpNet;
use kontiki_client::{Delta, ObjectCache};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a node's proxy works.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The node's own name.
    pub node_name: String,
    /// Addresses of pods: connections from there keep their source address.
    /// Empty: every connection keeps it.
    pub pod_ranges: Vec<IpNet>,
    /// At least this long lies between two changes of the rules. The first
    /// change after a quiet time is carried out at once.
    pub sync_period_min: Duration,
    /// After this long everything is loaded anew, whatever is thought to be there.
    pub sync_period_max: Duration,
    /// How long to wait after a failure.
    pub retry_delay: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

impl ProxyConfig {
    /// The usual timings.
    #[must_use]
    pub fn new(node_name: impl Into<String>, pod_ranges: Vec<IpNet>) -> Self {
        Self {
            node_name: node_name.into(),
            pod_ranges,
            sync_period_min: Duration::from_millis(50),
            sync_period_max: Duration::from_secs(3600),
            retry_delay: Duration::from_secs(1),
            metrics: Metrics::default(),
        }
    }
}

/// What the proxy follows.
#[derive(Clone)]
pub struct Caches {
    /// All Services.
    pub services: Arc<ObjectCache>,
    /// All EndpointSlices.
    pub endpoint_slices: Arc<ObjectCache>,
}

/// The service proxy of a node.
pub struct Proxy {
    config: ProxyConfig,
    caches: Caches,
    nft: Arc<dyn Nft>,
    loaded: Option<Loaded>,
}

struct Loaded {
    ports: BTreeMap<String, ServicePort>,
    rulesets: [Ruleset; 2],
}

impl Proxy {
    /// Follows the caches until `cancel` is cancelled. The rules stay then, so
    /// that a restart disturbs nobody; [`cleanup`] removes them.
    pub async fn run(
        config: ProxyConfig,
        caches: Caches,
        nft: Arc<dyn Nft>,
        cancel: CancellationToken,
    ) {
        let services = caches.services.subscribe();
        let slices = caches.endpoint_slices.subscribe();
        let proxy = Self {
            config,
            caches,
            nft,
            loaded: None,
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = proxy.follow(services, slices) => {}
        }
    }

    async fn follow(
        mut self,
        mut services: UnboundedReceiver<Delta>,
        mut slices: UnboundedReceiver<Delta>,
    ) {
        let mut loaded_at = Instant::now();
        loop {
            let started = Instant::now();
            // What has arrived is part of this round.
            while services.try_recv().is_ok() {}
            while slices.try_recv().is_ok() {}
            let metrics = self.config.metrics.clone();
            let wait = match self.sync().await {
                Ok(was_full) => {
                    metrics
                        .sync_seconds
                        .observe(started.elapsed().as_secs_f64());
                    metrics.last_sync.set(seconds_since_1970());
                    if was_full {
                        loaded_at = Instant::now();
                    }
                    self.config
                        .sync_period_max
                        .saturating_sub(loaded_at.elapsed())
                }
                Err(error) => {
                    tracing::error!(%error, "the rules of Services could not be loaded, will try again");
                    metrics.sync_failures.inc();
                    // What is loaded is not known any more.
                    self.loaded = None;
                    tokio::time::sleep(self.config.retry_delay).await;
                    continue;
                }
            };
            tokio::select! {
                change = services.recv() => if change.is_none() { return },
                change = slices.recv() => if change.is_none() { return },
                () = tokio::time::sleep(wait) => self.loaded = None,
            }
            tokio::time::sleep_until(started + self.config.sync_period_min).await;
        }
    }

    /// Loads what the caches say; tells whether everything was loaded anew.
    async fn sync(&mut self) -> Result<bool, NftError> {
        let ports = service_ports(
            &self.caches.services.list(),
            &self.caches.endpoint_slices.list(),
            &self.config.node_name,
        );
        let ranges = &self.config.pod_ranges;
        let rulesets =
            [Family::V4, Family::V6].map(|family| Ruleset::build(family, ports.values(), ranges));
        let is_full = self.loaded.is_none();
        let mut script = String::new();
        for (at, ruleset) in rulesets.iter().enumerate() {
            let loaded = self.loaded.as_ref().map(|loaded| &loaded.rulesets[at]);
            script.push_str(&ruleset.script_from(loaded));
        }
        if !script.is_empty() {
            self.nft.apply(&script).await?;
        }
        let flows = match &self.loaded {
            Some(loaded) => stale(&loaded.ports, &ports),
            None => stale(&BTreeMap::new(), &ports),
        };
        self.loaded = Some(Loaded { ports, rulesets });
        if !flows.is_empty() {
            // The next change does not wait for it.
            tokio::spawn(forget(flows));
        }
        Ok(is_full)
    }
}

fn seconds_since_1970() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |passed| {
        i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Removes all rules of the proxy.
///
/// # Errors
/// If `nft` cannot be run or refuses.
pub async fn cleanup(nft: &dyn Nft) -> Result<(), NftError> {
    nft.apply(&cleanup_script()).await
}

#[cfg(test)]
mod tests;

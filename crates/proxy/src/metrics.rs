//! What the proxy counts, under kube-proxy's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The proxy's metrics. They count whether they are registered or not.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds that a change of the rules took.
    pub sync_seconds: Histogram,
    /// Changes that nft refused.
    pub sync_failures: Counter,
    /// When the rules were last as wanted, in seconds since 1970.
    pub last_sync: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sync_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            sync_failures: Counter::default(),
            last_sync: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
            metrics.sync_seconds.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures",
            "Cumulative proxy nftables sync failures",
            metrics.sync_failures.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "The last time proxy rules were successfully synced",
            metrics.last_sync.clone(),
        );
        metrics
    }
}

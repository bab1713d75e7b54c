//! Counters under the names that Kubernetes' dashboards know.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Which request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub struct RequestLabels {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub scope: String,
    pub code: u16,
}

/// Which kind of request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub struct DurationLabels {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub scope: String,
}

/// What is in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub struct InflightLabels {
    pub request_kind: String,
}

/// The counters.
#[derive(Clone)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub struct Metrics {
    pub request_total: Family<RequestLabels, Counter>,
    pub request_duration_seconds: Family<DurationLabels, Histogram>,
    pub current_inflight_requests: Family<InflightLabels, Gauge>,
    pub longrunning_requests: Family<DurationLabels, Gauge>,
}

fn durations() -> Histogram {
    Histogram::new([
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
        10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    ])
}

impl Metrics {
    /// Makes them and shows them in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            request_total: Family::default(),
            request_duration_seconds: Family::new_with_constructor(durations),
            current_inflight_requests: Family::default(),
            longrunning_requests: Family::default(),
        };
        registry.register(
            // The encoder adds `_total`.
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, group, version, resource, scope and HTTP response code",
            metrics.request_total.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, group, version, resource, subresource and scope",
            metrics.request_duration_seconds.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Number of requests in flight by kind: readOnly and mutating",
            metrics.current_inflight_requests.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running requests",
            metrics.longrunning_requests.clone(),
        );
        metrics
    }
}

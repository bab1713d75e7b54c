//! What a node counts beside the kubelet.

use kontiki_nodelink::NodeView;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// How much of the cluster the node knows.
#[derive(Debug)]
struct ViewSizes(NodeView);

impl Collector for ViewSizes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut metric = encoder.encode_descriptor(
            "kontiki_node_view_objects",
            "Objects that the servers told this node",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (resource, count) in self.0.sizes() {
            let gauge = ConstGauge::new(u64::try_from(count).unwrap_or(u64::MAX));
            gauge.encode(metric.encode_family(&[("resource", resource)])?)?;
        }
        Ok(())
    }
}

/// The metrics of the service proxy and of the view, registered.
pub fn register(view: &NodeView) -> (Registry, kontiki_proxy::Metrics) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ViewSizes(view.clone())));
    let proxy = kontiki_proxy::Metrics::register(&mut registry);
    (registry, proxy)
}

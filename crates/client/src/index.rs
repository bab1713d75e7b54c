//! Indexes that several components keep over the same caches.

use kontiki_object::{Object, Value};

/// Name of the index of EndpointSlices by the `namespace/name` of their Service.
pub const SERVICE: &str = "service";
/// Name of the index of Services and EndpointSlices by their addresses.
pub const IP: &str = "ip";

/// The Service that an EndpointSlice belongs to.
#[must_use]
pub fn slice_service(slice: &Object) -> Vec<String> {
    let name = slice.label("kubernetes.io/service-name");
    name.map(|name| format!("{}/{name}", slice.namespace()))
        .into_iter()
        .collect()
}

/// The addresses of the endpoints of an EndpointSlice.
#[must_use]
pub fn slice_ips(slice: &Object) -> Vec<String> {
    let endpoints = slice
        .get(&["endpoints"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let addresses = endpoints
        .filter_map(|endpoint| endpoint["addresses"].as_array())
        .flatten();
    addresses
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect()
}

/// The cluster addresses of a Service.
#[must_use]
pub fn service_ips(service: &Object) -> Vec<String> {
    let several = service
        .get(&["spec", "clusterIPs"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut ips: Vec<String> = several
        .filter_map(|ip| ip.as_str().map(str::to_owned))
        .collect();
    if ips.is_empty() {
        ips.extend(service.str_at(&["spec", "clusterIP"]).map(str::to_owned));
    }
    ips.retain(|ip| ip != "None");
    ips
}

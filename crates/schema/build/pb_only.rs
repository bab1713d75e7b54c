//! Messages that the published OpenAPI schemas leave out although clients send
//! or read them, and kinds that only live in the store. Their schemas come
//! from the protobuf side alone.

/// `(name, is it a kind)`.
pub const TYPES: &[(&str, bool)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.CreateOptions", true),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.GetOptions", true),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ListOptions", true),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.PatchOptions", true),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.UpdateOptions", true),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
        true,
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList",
        true,
    ),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", false),
    ("io.k8s.api.core.v1.NodeProxyOptions", true),
    ("io.k8s.api.core.v1.PodAttachOptions", true),
    ("io.k8s.api.core.v1.PodExecOptions", true),
    ("io.k8s.api.core.v1.PodLogOptions", true),
    ("io.k8s.api.core.v1.PodPortForwardOptions", true),
    ("io.k8s.api.core.v1.PodProxyOptions", true),
    ("io.k8s.api.core.v1.RangeAllocation", true),
    ("io.k8s.api.core.v1.ServiceProxyOptions", true),
];

/// The JSON name of a field whose prost name has lost its capitals.
pub fn json_name(prost: &str) -> String {
    match prost {
        "insecure_skip_tls_verify_backend" => return "insecureSkipTLSVerifyBackend".to_owned(),
        "resource_version" => return "resourceVersion".to_owned(),
        _ => {}
    }
    let mut name = String::new();
    let mut upper = false;
    for c in prost.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            name.extend(c.to_uppercase());
            upper = false;
        } else {
            name.push(c);
        }
    }
    name
}

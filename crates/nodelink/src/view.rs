//! What a node knows of the cluster.

use crate::proto::Known;
use kontiki_client::{ObjectCache, resources};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Value};
use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The objects a node needs, kept current by the server: the pods bound to it,
/// the `ConfigMap`s and `Secret`s they refer to, and every Service,
/// `EndpointSlice` and Node.
#[derive(Clone)]
pub struct NodeView {
    /// Pods whose `spec.nodeName` is this node.
    pub pods: Arc<ObjectCache>,
    /// Those that these pods refer to.
    pub config_maps: Arc<ObjectCache>,
    /// Those that these pods refer to.
    pub secrets: Arc<ObjectCache>,
    /// All.
    pub services: Arc<ObjectCache>,
    /// All.
    pub endpoint_slices: Arc<ObjectCache>,
    /// All.
    pub nodes: Arc<ObjectCache>,
    synced: Arc<watch::Sender<bool>>,
}

impl fmt::Debug for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sizes()).finish()
    }
}

impl Default for NodeView {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeView {
    /// An empty view.
    #[must_use]
    pub fn new() -> Self {
        let cache = || Arc::new(ObjectCache::new(Vec::new()));
        Self {
            pods: cache(),
            config_maps: cache(),
            secrets: cache(),
            services: cache(),
            endpoint_slices: cache(),
            nodes: cache(),
            synced: Arc::new(watch::channel(false).0),
        }
    }

    /// The cache of a resource, by its plural name; `None` for what is not part of a view.
    #[must_use]
    pub fn cache(&self, resource: &str) -> Option<&Arc<ObjectCache>> {
        Some(match resource {
            "pods" => &self.pods,
            "configmaps" => &self.config_maps,
            "secrets" => &self.secrets,
            "services" => &self.services,
            "endpointslices" => &self.endpoint_slices,
            "nodes" => &self.nodes,
            _ => return None,
        })
    }

    /// Waits until the view has once been complete.
    pub async fn synced(&self) {
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Notes that the view is complete.
    pub fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Takes an object in, unless a newer version of it is already here: a
    /// server that lags behind the last one must not turn the view back.
    pub fn upsert(&self, resource: &str, object: SharedObject) {
        let Some(cache) = self.cache(resource) else {
            return;
        };
        let version =
            |object: &Object| object.resource_version().parse::<u64>().unwrap_or_default();
        let known = cache.get(&object.key());
        if known.is_none_or(|known| version(&known) < version(&object)) {
            cache.upsert(object);
        }
    }

    /// Whether `address:port` is one of a pod here.
    #[must_use]
    pub fn has_pod_at(&self, address: &str) -> bool {
        let Ok(wanted) = address.parse::<SocketAddr>() else {
            return false;
        };
        let is = |text: Option<&str>| text.and_then(|ip| ip.parse().ok()) == Some(wanted.ip());
        self.pods.list().iter().any(|pod| {
            let all = pod.get(&["status", "podIPs"]).and_then(Value::as_array);
            let mut all = all.into_iter().flatten();
            is(pod.str_at(&["status", "podIP"])) || all.any(|entry| is(entry["ip"].as_str()))
        })
    }

    /// Takes an object out.
    pub fn remove(&self, resource: &str, key: &str) {
        if let Some(cache) = self.cache(resource) {
            cache.remove(key);
        }
    }

    /// How many objects of each resource are here.
    #[must_use]
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let size = |resource: &&'static str| {
            let cache = self.cache(resource);
            (*resource, cache.map_or(0, |cache| cache.len()))
        };
        RESOURCES.iter().map(size).collect()
    }

    /// What is here, for a server that takes over.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        let entries = |resource: &'static str| {
            let cache = self
                .cache(resource)
                .expect("only resources of the view are asked for");
            cache.list().into_iter().map(move |object| Known {
                resource: resource.to_owned(),
                key: object.key(),
                resource_version: object.resource_version().to_owned(),
            })
        };
        RESOURCES
            .iter()
            .flat_map(|resource| entries(resource))
            .collect()
    }
}

/// The plural names of the resources of a view.
pub(crate) const RESOURCES: [&str; 6] = [
    "pods",
    "configmaps",
    "secrets",
    "services",
    "endpointslices",
    "nodes",
];

/// The objects a pod refers to, as `(resource, namespace/name)`, that its node must be
/// given. A finished pod needs nothing any more, and its node may not see it.
#[must_use]
pub(crate) fn references(pod: &Object) -> HashSet<(GroupVersionResource, String)> {
    let mut found = HashSet::new();
    if matches!(
        pod.str_at(&["status", "phase"]),
        Some("Succeeded" | "Failed")
    ) {
        return found;
    }
    if let Some(spec) = pod.tree().get("spec") {
        collect(spec, pod.namespace(), &mut found);
    }
    found
}

/// Walks a pod's spec for the shapes in which it names a `ConfigMap` or `Secret`.
fn collect(
    value: &kontiki_object::Value,
    namespace: &str,
    found: &mut HashSet<(GroupVersionResource, String)>,
) {
    use kontiki_object::Value;
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, namespace, found)),
        Value::Object(fields) => {
            for (field, value) in fields {
                let (resource, name) = match field.as_str() {
                    "configMap" | "configMapRef" | "configMapKeyRef" => {
                        (resources::CONFIG_MAPS, value.get("name"))
                    }
                    "secret" => (
                        resources::SECRETS,
                        value.get("secretName").or_else(|| value.get("name")),
                    ),
                    "secretRef" | "secretKeyRef" => (resources::SECRETS, value.get("name")),
                    "imagePullSecrets" => {
                        for secret in value.as_array().into_iter().flatten() {
                            if let Some(name) = secret.get("name").and_then(Value::as_str) {
                                found.insert((resources::SECRETS, format!("{namespace}/{name}")));
                            }
                        }
                        continue;
                    }
                    _ => {
                        collect(value, namespace, found);
                        continue;
                    }
                };
                if let Some(name) = name.and_then(Value::as_str) {
                    found.insert((resource, format!("{namespace}/{name}")));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: u64) -> SharedObject {
        let tree = json!({"metadata": {"name": "p", "namespace": "n", "resourceVersion": version.to_string()}});
        Arc::new(Object::from_value(tree).expect("a map"))
    }

    #[test]
    fn a_lagging_server_does_not_turn_the_view_back() {
        let view = NodeView::new();
        view.upsert("pods", object(10));
        view.upsert("pods", object(9));
        assert_eq!(
            view.pods.get("n/p").expect("is there").resource_version(),
            "10"
        );
        view.upsert("pods", object(100));
        assert_eq!(view.known()[0].resource_version, "100");
    }

    #[test]
    fn only_addresses_of_pods_of_the_node_are_reached() {
        let view = NodeView::new();
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "resourceVersion": "1"},
            "status": {"podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}]},
        });
        let waiting = json!({"metadata": {"name": "q", "namespace": "n", "resourceVersion": "1"}});
        for object in [pod, waiting] {
            let object = Object::from_value(object).expect("a map");
            view.upsert("pods", Arc::new(object));
        }
        for (address, is_reached) in [
            ("10.1.0.7:80", true),
            ("[fd00::7]:443", true),
            ("10.1.0.8:80", false),
            ("127.0.0.1:6443", false),
            ("169.254.169.254:80", false),
            ("10.1.0.7", false),
            ("localhost:80", false),
            ("", false),
        ] {
            assert_eq!(view.has_pod_at(address), is_reached, "{address}");
        }
    }

    #[test]
    fn every_way_to_name_a_secret_or_config_map_is_found() {
        let pod = Object::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {
                "imagePullSecrets": [{"name": "pull"}],
                "containers": [{
                    "env": [
                        {"valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
                        {"valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}},
                    ],
                    "envFrom": [{"configMapRef": {"name": "c2"}}, {"secretRef": {"name": "s2"}}],
                }],
                "volumes": [
                    {"configMap": {"name": "c3"}},
                    {"secret": {"secretName": "s3"}},
                    {"projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}]}},
                ],
            },
        }))
        .expect("a map");
        let mut names: Vec<String> = references(&pod)
            .into_iter()
            .map(|(gvr, key)| format!("{} {key}", gvr.resource))
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "configmaps n/c1",
                "configmaps n/c2",
                "configmaps n/c3",
                "configmaps n/c4",
                "secrets n/pull",
                "secrets n/s1",
                "secrets n/s2",
                "secrets n/s3",
                "secrets n/s4",
            ]
        );
    }
}

//! Amounts of resources, as pods ask for them and nodes have them.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kontiki_object::Quantity;
use std::collections::BTreeMap;

/// What a container without a request counts for when nodes are compared:
/// CPU in thousandths, and bytes of memory (upstream's values).
pub const MILLI_CPU_ASSUMED: i64 = 100;
/// See [`MILLI_CPU_ASSUMED`].
pub const MEMORY_ASSUMED: i64 = 200 * 1024 * 1024;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local disk in bytes.
    pub ephemeral_storage: i64,
    /// Pods, on nodes only.
    pub pods: i64,
    /// Everything else by name.
    pub scalar: BTreeMap<String, i64>,
}

impl Resources {
    /// From the form in which objects carry them; what is malformed counts as absent.
    #[must_use]
    pub fn from_list(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut this = Self::default();
        for (name, text) in list.into_iter().flatten() {
            let Ok(quantity) = text.0.parse::<Quantity>() else {
                continue;
            };
            match name.as_str() {
                "cpu" => this.milli_cpu = quantity.milli(),
                "memory" => this.memory = quantity.units(),
                "ephemeral-storage" => this.ephemeral_storage = quantity.units(),
                "pods" => this.pods = quantity.units(),
                _ => {
                    this.scalar.insert(name.clone(), quantity.units());
                }
            }
        }
        this
    }

    fn merge(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let own = self.scalar.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    /// Raises amounts to those of `other`.
    pub fn raise(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    /// An amount by the name of its resource.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            other => self.scalar.get(other).copied().unwrap_or_default(),
        }
    }
}

fn container_request(container: &Container, assumed: bool) -> Resources {
    let list = container
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    let mut request = Resources::from_list(list);
    if assumed {
        let has = |name: &str| list.is_some_and(|list| list.contains_key(name));
        if !has("cpu") {
            request.milli_cpu = MILLI_CPU_ASSUMED;
        }
        if !has("memory") {
            request.memory = MEMORY_ASSUMED;
        }
    }
    request
}

/// What a pod asks for: all containers that run side by side, or the most that
/// its start needs, whichever is more, and its overhead (KEP-753, KEP-2837).
/// With `assumed`, containers that ask for nothing count for a little.
#[must_use]
pub fn pod_request(spec: &PodSpec, assumed: bool) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&container_request(container, assumed));
    }
    let mut sidecars = Resources::default();
    let mut start = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let request = container_request(container, assumed);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&request);
            sidecars.add(&request);
            start.raise(&sidecars);
        } else {
            let mut need = sidecars.clone();
            need.add(&request);
            start.raise(&need);
        }
    }
    running.raise(&start);
    if let Some(list) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(Some(list));
        if list.contains_key("cpu") {
            running.milli_cpu = whole.milli_cpu;
        }
        if list.contains_key("memory") {
            running.memory = whole.memory;
        }
        for (name, amount) in whole.scalar {
            running.scalar.insert(name, amount);
        }
    }
    running.add(&Resources::from_list(spec.overhead.as_ref()));
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(spec: Value) -> (i64, i64) {
        let spec: PodSpec = serde_json::from_value(spec).expect("a pod spec");
        let request = pod_request(&spec, false);
        (request.milli_cpu, request.memory)
    }

    #[test]
    fn a_pod_asks_for_what_its_containers_need_at_the_worst_moment() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        for (spec, milli) in [
            (
                json!({"containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("500m")}]}),
                1500,
            ),
            (
                json!({"containers": [{"name": "a", "resources": cpu("1")}], "initContainers": [{"name": "i", "resources": cpu("2")}]}),
                2000,
            ),
            (
                json!({"containers": [{"name": "a", "resources": cpu("1")}], "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "resources": cpu("1")}, {"name": "i", "resources": cpu("2")}]}),
                3000,
            ),
            (
                json!({"containers": [{"name": "a", "resources": cpu("1")}], "overhead": {"cpu": "250m"}}),
                1250,
            ),
            (
                json!({"containers": [{"name": "a", "resources": cpu("1")}], "resources": {"requests": {"cpu": "4"}}}),
                4000,
            ),
        ] {
            assert_eq!(request(spec.clone()).0, milli, "{spec}");
        }
    }
}

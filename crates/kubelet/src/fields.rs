//! The downward API: a pod's own fields and resources, as text.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use kontiki_object::Quantity;
use std::collections::BTreeMap;

/// What a pod cannot know of itself until it is placed.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Addresses of the node.
    pub host_ips: Vec<String>,
    /// Addresses of the pod.
    pub pod_ips: Vec<String>,
    /// What the node has for pods, by resource: the limit of those without one.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// A reference that leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FieldError {
    /// The pod has no such field, or it may not be referred to.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// The container named does not exist.
    #[error("container {0:?} not found")]
    Container(String),
    /// No such resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// The value of a field.
///
/// # Errors
/// If the path names no field that may be referred to.
pub fn field(pod: &Pod, path: &str, placement: &Placement) -> Result<String, FieldError> {
    let text = |field: &Option<String>| Ok(field.clone().unwrap_or_default());
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
    {
        let values = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return Err(FieldError::Path(path.to_owned())),
        };
        return Ok(values
            .as_ref()
            .and_then(|values| values.get(key))
            .cloned()
            .unwrap_or_default());
    }
    match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => Ok(map_text(pod.metadata.labels.as_ref())),
        "metadata.annotations" => Ok(map_text(pod.metadata.annotations.as_ref())),
        "spec.nodeName" => Ok(spec
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default()),
        "spec.serviceAccountName" => Ok(spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default()),
        "status.hostIP" => Ok(placement.host_ips.first().cloned().unwrap_or_default()),
        "status.hostIPs" => Ok(placement.host_ips.join(",")),
        "status.podIP" => Ok(placement.pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Ok(placement.pod_ips.join(",")),
        _ => Err(FieldError::Path(path.to_owned())),
    }
}

/// A map, a line each, values quoted as Go quotes them.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of a container's resource, in units of the divisor, rounded up.
///
/// # Errors
/// If the container or the resource does not exist.
pub fn resource(
    pod: &Pod,
    default_container: &str,
    selector: &ResourceFieldSelector,
    placement: &Placement,
) -> Result<String, FieldError> {
    let name = selector
        .container_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(default_container);
    let container = container(pod, name).ok_or_else(|| FieldError::Container(name.to_owned()))?;
    let unknown = || FieldError::Resource(selector.resource.clone());
    let (kind, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let known = matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || resource.starts_with("hugepages-");
    if !known {
        return Err(unknown());
    }
    let resources = container.resources.as_ref();
    let stated = |map: Option<&BTreeMap<String, ApiQuantity>>| quantity(map, resource);
    let limit = stated(resources.and_then(|resources| resources.limits.as_ref()));
    let value = match kind {
        "limits" => limit.or_else(|| placement.allocatable.get(resource).copied()),
        "requests" => stated(resources.and_then(|resources| resources.requests.as_ref())).or(limit),
        _ => return Err(unknown()),
    };
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(|divisor| divisor.0.parse::<Quantity>().ok());
    let milli = |quantity: Quantity| i128::from(quantity.milli());
    let divisor = divisor
        .map(milli)
        .filter(|divisor| *divisor > 0)
        .unwrap_or(1000);
    let value = value.map(milli).unwrap_or_default();
    Ok(((value + divisor - 1) / divisor).to_string())
}

/// A resource of a list.
#[must_use]
pub fn quantity(list: Option<&BTreeMap<String, ApiQuantity>>, resource: &str) -> Option<Quantity> {
    list?.get(resource)?.0.parse().ok()
}

/// A container of a pod by its name, wherever it stands.
#[must_use]
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u",
                "labels": {"b": "2", "a": "1"}, "annotations": {"note": "say \"hi\""},
            },
            "spec": {
                "nodeName": "node", "serviceAccountName": "sa",
                "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}],
            },
        }))
        .expect("a pod")
    }

    fn placement() -> Placement {
        Placement {
            host_ips: vec!["10.0.0.1".into()],
            pod_ips: vec!["10.1.0.2".into(), "fd00::2".into()],
            allocatable: BTreeMap::from([(
                "ephemeral-storage".into(),
                "10Gi".parse().expect("valid"),
            )]),
        }
    }

    #[test]
    fn fields_are_read_by_their_path() {
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.uid", "u"),
            ("metadata.labels", "a=\"1\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations", "note=\"say \\\"hi\\\"\""),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "10.0.0.1"),
            ("status.podIPs", "10.1.0.2,fd00::2"),
        ] {
            assert_eq!(
                field(&pod(), path, &placement()).as_deref(),
                Ok(expected),
                "{path}"
            );
        }
        assert!(field(&pod(), "spec.volumes", &placement()).is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        for (name, divisor, expected) in [
            ("limits.cpu", "", "2"),
            ("limits.cpu", "1m", "1500"),
            ("requests.memory", "1Mi", "64"),
            ("limits.memory", "", "67108864"),
            ("limits.ephemeral-storage", "1Gi", "10"),
            ("requests.ephemeral-storage", "", "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: name.into(),
                divisor: (!divisor.is_empty()).then(|| ApiQuantity(divisor.into())),
                container_name: None,
            };
            assert_eq!(
                resource(&pod(), "c", &selector, &placement()).as_deref(),
                Ok(expected),
                "{name} {divisor}"
            );
        }
    }
}

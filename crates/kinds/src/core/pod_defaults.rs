//! Defaults of pods and pod templates.

use crate::Tree;
use crate::tree::{
    default, default_nonzero, flag, make, map, map_mut, map_mut_at, maps, maps_mut, number, text,
};
use kontiki_object::{Quantity, Value};
use serde_json::json;
use std::collections::BTreeMap;

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const FILE_MODE: i64 = 0o644;

/// Defaults of a pod: those of its spec and what only holds outside of templates.
pub(crate) fn pod(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    pod_spec(spec);
    for field in ["containers", "initContainers"] {
        for container in maps_mut(spec, field) {
            limits_are_requests(container);
        }
    }
    pod_level_resources(spec);
    default(spec, "enableServiceLinks", true);
}

/// Defaults of `spec.template` (or `template`) within `parent`.
pub(crate) fn template(parent: &mut Tree) {
    if let Some(spec) = map_mut_at(parent, &["template", "spec"]) {
        pod_spec(spec);
    }
}

/// Defaults that pods and templates share.
pub(crate) fn pod_spec(spec: &mut Tree) {
    service_account(spec);
    if number(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".into(), 1.into());
    }
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    make(spec, "securityContext");
    for volume in maps_mut(spec, "volumes") {
        default_volume(volume);
    }
    for field in CONTAINERS {
        for container in maps_mut(spec, field) {
            default_container(container);
        }
    }
    if flag(spec, "hostNetwork") == Some(true) {
        for field in ["containers", "initContainers"] {
            for container in maps_mut(spec, field) {
                for port in maps_mut(container, "ports") {
                    let number = number(port, "containerPort").unwrap_or_default();
                    default_nonzero(port, "hostPort", number);
                }
            }
        }
    }
}

/// The account's deprecated name and the one that took its place say the same.
fn service_account(spec: &mut Tree) {
    let (name, deprecated) = ("serviceAccountName", "serviceAccount");
    let account = match text(spec, name) {
        "" => text(spec, deprecated),
        account => account,
    };
    if !account.is_empty() {
        let account = account.to_owned();
        spec.insert(name.into(), account.clone().into());
        spec.insert(deprecated.into(), account.into());
    }
}

fn pull_policy(image: &str) -> &'static str {
    if image_tag(image) == Some("latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The tag of an image reference; `latest` if it has neither tag nor digest,
/// `None` if it has a digest only or is no reference at all.
fn image_tag(image: &str) -> Option<&str> {
    if image.is_empty() || image.contains(char::is_whitespace) {
        return None;
    }
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) => Some(tag),
        None if digest.is_some() => None,
        None if name.chars().any(|c| c.is_ascii_uppercase()) && !name.contains('/') => None,
        None => Some("latest"),
    }
}

fn default_container(container: &mut Tree) {
    let policy = pull_policy(text(container, "image"));
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    for port in maps_mut(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for env in maps_mut(container, "env") {
        if let Some(field) = map_mut_at(env, &["valueFrom", "fieldRef"]) {
            default(field, "apiVersion", "v1");
        }
        if let Some(file) = map_mut_at(env, &["valueFrom", "fileKeyRef"]) {
            default(file, "optional", false);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = map_mut(container, probe) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = map_mut_at(container, &["lifecycle", hook, "httpGet"]) {
            default_http_get(get);
        }
    }
}

fn default_probe(probe: &mut Tree) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        default_nonzero(probe, field, value);
    }
    if let Some(get) = map_mut(probe, "httpGet") {
        default_http_get(get);
    }
    if let Some(grpc) = map_mut(probe, "grpc")
        && grpc.get("service").is_none_or(Value::is_null)
    {
        grpc.insert("service".to_owned(), "".into());
    }
}

fn default_http_get(get: &mut Tree) {
    default(get, "path", "/");
    default(get, "scheme", "HTTP");
}

/// Sources of volumes and the texts that default in them.
const VOLUME_TEXTS: [(&str, &[(&str, &str)]); 4] = [
    ("iscsi", &[("iscsiInterface", "default")]),
    (
        "rbd",
        &[
            ("pool", "rbd"),
            ("user", "admin"),
            ("keyring", "/etc/ceph/keyring"),
        ],
    ),
    (
        "scaleIO",
        &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")],
    ),
    (
        "azureDisk",
        &[
            ("cachingMode", "ReadWrite"),
            ("fsType", "ext4"),
            ("kind", "Shared"),
        ],
    ),
];

/// Defaults of volume sources that persistent volumes have as well.
pub(crate) fn volume_source(volume: &mut Tree) {
    for (source, texts) in VOLUME_TEXTS {
        if let Some(source) = map_mut(volume, source) {
            for (field, value) in texts {
                default(source, field, *value);
            }
        }
    }
    if let Some(disk) = map_mut(volume, "azureDisk") {
        default(disk, "readOnly", false);
    }
    if let Some(path) = map_mut(volume, "hostPath")
        && path.get("type").is_none_or(Value::is_null)
    {
        path.insert("type".to_owned(), "".into());
    }
}

fn default_volume(volume: &mut Tree) {
    if !volume
        .iter()
        .any(|(field, value)| field != "name" && !value.is_null())
    {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    volume_source(volume);
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map_mut(volume, source) {
            default(source, "defaultMode", FILE_MODE);
        }
    }
    default_downward_items(map_mut(volume, "downwardAPI"));
    if let Some(projected) = map_mut(volume, "projected") {
        for source in maps_mut(projected, "sources") {
            default_downward_items(map_mut(source, "downwardAPI"));
            if let Some(token) = map_mut(source, "serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(image) = map_mut(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        default(image, "pullPolicy", policy);
    }
    if let Some(claim) = map_mut_at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        default(claim, "volumeMode", "Filesystem");
    }
}

fn default_downward_items(source: Option<&mut Tree>) {
    let Some(source) = source else { return };
    for item in maps_mut(source, "items") {
        if let Some(field) = map_mut(item, "fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
}

fn limits_are_requests(container: &mut Tree) {
    let Some(resources) = map_mut(container, "resources") else {
        return;
    };
    let Some(limits) = map(resources, "limits").cloned() else {
        return;
    };
    let requests = make(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What the containers ask for together: the sum of those that run side by
/// side, or the most that an init container needs if that is more.
pub(crate) fn aggregate(spec: &Tree, which: &str) -> BTreeMap<String, Quantity> {
    let quantities = |container: &Tree| -> Vec<(String, Quantity)> {
        let list = map(container, "resources").and_then(|resources| map(resources, which));
        list.into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse().ok()?)))
            .collect()
    };
    let mut sum: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in maps(spec, "containers") {
        for (name, quantity) in quantities(container) {
            *sum.entry(name).or_default() += quantity;
        }
    }
    let mut sidecars: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut peak: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in maps(spec, "initContainers") {
        let restarts = text(container, "restartPolicy") == "Always";
        for (name, quantity) in quantities(container) {
            let beside = sidecars.entry(name.clone()).or_default();
            if restarts {
                *beside += quantity;
                *sum.entry(name.clone()).or_default() += quantity;
            }
            let need = if restarts {
                *beside
            } else {
                *beside + quantity
            };
            let most = peak.entry(name).or_insert(need);
            *most = (*most).max(need);
        }
    }
    for (name, need) in peak {
        let total = sum.entry(name).or_insert(need);
        *total = (*total).max(need);
    }
    sum
}

/// KEP-2837: requests and huge page limits of the whole pod follow from its
/// containers and its limits.
fn pod_level_resources(spec: &mut Tree) {
    let Some(resources) = map(spec, "resources") else {
        return;
    };
    let mut limits = map(resources, "limits").cloned().unwrap_or_default();
    let mut requests = map(resources, "requests").cloned().unwrap_or_default();
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, quantity) in aggregate(spec, "limits") {
        if name.starts_with("hugepages-") && !requests.contains_key(&name) {
            limits.entry(name).or_insert(quantity.to_string().into());
        }
    }
    if !limits.is_empty() {
        for (name, quantity) in aggregate(spec, "requests") {
            if matches!(&*name, "cpu" | "memory") {
                requests.entry(name).or_insert(quantity.to_string().into());
            }
        }
        for (name, limit) in &limits {
            if is_pod_level(name) {
                requests.entry(name.clone()).or_insert(limit.clone());
            }
        }
    }
    let resources = make(spec, "resources");
    for (field, list) in [("limits", limits), ("requests", requests)] {
        if !list.is_empty() {
            resources.insert(field.to_owned(), Value::Object(list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut pod_object = Tree::new();
        pod_object.insert("spec".into(), spec);
        pod(&mut pod_object);
        pod_object.remove("spec").expect("kept")
    }

    #[test]
    fn tags_decide_when_an_image_is_pulled() {
        for (image, tag) in [
            ("nginx", Some("latest")),
            ("nginx:1.2", Some("1.2")),
            ("registry.example:5000/a/b", Some("latest")),
            ("registry.example:5000/a/b:c", Some("c")),
            ("a@sha256:0123", None),
            ("a:latest@sha256:0123", Some("latest")),
            ("", None),
        ] {
            assert_eq!(image_tag(image), tag, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_what_it_leaves_out() {
        let spec = defaulted(json!({
            "containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
        }));
        assert_eq!(
            spec,
            json!({
                "containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
            })
        );
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let once = defaulted(
            json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}),
        );
        assert_eq!(once["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(
            once["resources"]["requests"],
            json!({"cpu": "2", "memory": "1Gi"})
        );
        assert_eq!(defaulted(once.clone()), once);
    }
}

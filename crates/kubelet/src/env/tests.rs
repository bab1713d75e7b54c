use super::*;
use serde_json::json;
use std::sync::Arc;

#[derive(Default)]
struct Fixed(Vec<SharedObject>);

impl Fixed {
    fn with(objects: &[Value]) -> Self {
        Self(
            objects
                .iter()
                .map(|object| Arc::new(Object::from_value(object.clone()).expect("a map")))
                .collect(),
        )
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<SharedObject> {
        let is = |object: &&SharedObject| {
            object.kind() == kind && object.namespace() == namespace && object.name() == name
        };
        self.0.iter().find(is).cloned()
    }
}

impl Sources for Fixed {
    fn config_map(&self, namespace: &str, name: &str) -> Option<SharedObject> {
        self.find("ConfigMap", namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<SharedObject> {
        self.find("Secret", namespace, name)
    }

    fn services(&self, namespace: &str) -> Vec<SharedObject> {
        let is =
            |object: &&SharedObject| object.kind() == "Service" && object.namespace() == namespace;
        self.0.iter().filter(is).cloned().collect()
    }
}

fn sources() -> Fixed {
    Fixed::with(&[
        json!({"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"a": "1", "b": "2"}, "binaryData": {"bin": "/w=="}}),
        json!({"kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"k": "c2VjcmV0", "raw": "/w=="}}),
        json!({"kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "https", "port": 443}]}}),
        json!({"kind": "Service", "metadata": {"name": "my-db", "namespace": "n"}, "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 53, "protocol": "UDP"}]}}),
        json!({"kind": "Service", "metadata": {"name": "headless", "namespace": "n"}, "spec": {"clusterIP": "None"}}),
    ])
}

fn env(container: Value, links: bool) -> Result<Vec<(String, String)>, EnvError> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [container.clone()], "enableServiceLinks": links},
    }))
    .expect("a pod");
    let container: Container = serde_json::from_value(container).expect("a container");
    environment(&pod, &container, &sources(), &Placement::default())
}

fn shown(container: Value) -> String {
    let variables = env(container, false).expect("it can be made");
    let own = variables
        .iter()
        .filter(|(name, _)| !name.starts_with("KUBERNETES_"));
    own.map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn variables_come_from_values_and_references() {
    let reference = |kind: &str, name: &str, key: &str, optional: bool| json!({"name": "X", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}});
    for (env, expected) in [
        (
            json!([{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)$(NO)$$(A)"}]),
            "A=x B=x$(NO)$(A)",
        ),
        (
            json!([{"name": "A", "value": "x"}, {"name": "A", "value": "$(A)y"}]),
            "A=xy",
        ),
        (json!([{"name": "E"}]), "E="),
        (
            json!([reference("configMapKeyRef", "c", "a", false)]),
            "X=1",
        ),
        (
            json!([reference("secretKeyRef", "s", "k", false)]),
            "X=secret",
        ),
        (json!([reference("secretKeyRef", "none", "k", true)]), ""),
        (json!([reference("configMapKeyRef", "c", "none", true)]), ""),
        (
            json!([{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            "N=p",
        ),
    ] {
        assert_eq!(
            shown(json!({"name": "c", "env": env.clone()})),
            expected,
            "{env}"
        );
    }
}

#[test]
fn whole_objects_become_variables_that_single_ones_override() {
    let container = json!({
        "name": "c",
        "envFrom": [
            {"prefix": "P_", "configMapRef": {"name": "c"}},
            {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "none", "optional": true}},
        ],
        "env": [{"name": "P_a", "value": "mine"}],
    });
    assert_eq!(shown(container), "P_a=mine P_b=2 k=secret");
}

#[test]
fn what_is_missing_is_named() {
    for (container, message) in [
        (
            json!({"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]}),
            "configmap \"x\" not found",
        ),
        (
            json!({"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "z"}}}]}),
            "couldn't find key z in Secret n/s",
        ),
    ] {
        assert_eq!(
            env(container, true).expect_err("it is missing").to_string(),
            message
        );
    }
}

#[test]
fn services_are_told_in_both_styles() {
    let all: BTreeMap<String, String> = env(json!({"name": "c"}), true)
        .expect("it can be made")
        .into_iter()
        .collect();
    for (name, value) in [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ("KUBERNETES_PORT_443_TCP_ADDR", "10.0.0.1"),
        ("MY_DB_SERVICE_PORT", "53"),
        ("MY_DB_PORT", "udp://10.0.0.9:53"),
        ("MY_DB_PORT_53_UDP_PROTO", "udp"),
    ] {
        assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!all.contains_key("HEADLESS_SERVICE_HOST"));
    let without = env(json!({"name": "c"}), false).expect("it can be made");
    assert!(
        without
            .iter()
            .all(|(name, _)| name.starts_with("KUBERNETES_")),
        "{without:?}"
    );
}

//! What upstream warns about whoever makes a pod that is likely not meant so.

use crate::Tree;
use crate::field::Path;
use crate::names;
use crate::view::View;
use std::collections::BTreeMap;

/// Labels of nodes that have other names today.
const RENAMED_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    (
        "beta.kubernetes.io/instance-type",
        "v1.17",
        "node.kubernetes.io/instance-type",
    ),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "v1.17",
        "topology.kubernetes.io/region",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "v1.17",
        "topology.kubernetes.io/zone",
    ),
];

/// Of a pod; a changed one is only warned about if its spec changed.
pub(crate) fn pod(new: &Tree, old: Option<&Tree>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_some_and(|old| old.get("spec") == new.get("spec")) {
        return warnings;
    }
    if old.is_none() {
        name(&mut warnings, View::of(new, "metadata").text("name"));
    }
    let spec = View::of(new, "spec");
    selector(&mut warnings, &spec);
    for list in ["initContainers", "containers"] {
        for container in spec.maps(list) {
            environment(&mut warnings, &container);
        }
    }
    ports(&mut warnings, &spec);
    warnings
}

fn name(warnings: &mut Vec<String>, name: &str) {
    let problems = if name.contains('.') {
        vec!["must not contain dots".to_owned()]
    } else {
        names::is_dns1123_label(name)
    };
    if !name.is_empty() && !problems.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
}

fn selector(warnings: &mut Vec<String>, spec: &View<'_>) {
    for (path, key, _) in spec.entries("nodeSelector") {
        let renamed = RENAMED_LABELS.iter().find(|(old, _, _)| *old == key);
        if let Some((_, since, now)) = renamed {
            warnings.push(format!(
                "{path}: deprecated since {since}; use {now:?} instead"
            ));
        }
    }
}

fn environment(warnings: &mut Vec<String>, container: &View<'_>) {
    let mut seen = BTreeMap::new();
    for variable in container.maps("env") {
        let name = variable.text("name");
        let path = &variable.path;
        // A variable may extend the one of its name that comes before it.
        let extends = variable.text("value").contains(&format!("$({name})"));
        if seen.insert(name, ()).is_some() && !extends {
            warnings.push(format!(
                "{path}: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

fn ports(warnings: &mut Vec<String>, spec: &View<'_>) {
    let mut seen: BTreeMap<(i64, &str, i64, &str), Path> = BTreeMap::new();
    for container in spec.maps("containers") {
        for port in container.maps("ports") {
            let number = |field| port.number(field).unwrap_or_default();
            let key = (
                number("containerPort"),
                port.text("protocol"),
                number("hostPort"),
                port.text("hostIP"),
            );
            if let Some(first) = seen.get(&key) {
                let path = &port.path;
                warnings.push(format!("{path}: duplicate port definition with {first}"));
            } else {
                seen.insert(key, port.path.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_likely_not_meant_is_warned_about() {
        let object = |spec: serde_json::Value| {
            let object = json!({"metadata": {"name": "p"}, "spec": spec});
            object.as_object().expect("a map").clone()
        };
        let fine = object(json!({"containers": [{"env": [
            {"name": "PATH", "value": "/a"}, {"name": "PATH", "value": "$(PATH):/b"},
        ]}]}));
        assert_eq!(pod(&fine, None), [""; 0]);
        let odd = object(json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "containers": [{
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                "ports": [{"containerPort": 80}, {"containerPort": 80}],
            }],
        }));
        assert_eq!(pod(&odd, None).len(), 3);
        assert_eq!(pod(&odd, Some(&odd)), [""; 0]);
        assert_eq!(pod(&odd, Some(&fine)).len(), 3);
    }
}

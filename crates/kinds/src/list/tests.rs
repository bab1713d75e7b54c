use super::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Recorded discovery documents to compare with, where the tester has some.
fn recorded() -> Option<PathBuf> {
    std::env::var_os("KONTIKI_RECORDED_SERVER")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

#[test]
fn names_are_unique_and_every_stored_kind_has_its_own_place() {
    let mut seen = std::collections::BTreeMap::new();
    for kind in all() {
        assert!(find(&kind.group, &kind.version, &kind.plural).is_some());
        assert!(find_kind(&kind.group, &kind.version, &kind.kind).is_some());
        assert!(kind.verbs.is_sorted(), "{kind:?}");
        assert!(
            kind.subresources.is_sorted_by(|a, b| a.name < b.name),
            "{kind:?}"
        );
        let Some(storage) = &kind.storage else {
            assert!(!kind.has_verb("watch"), "{kind:?}");
            continue;
        };
        let other = seen.insert(storage.key_prefix.clone(), kind.kind.clone());
        assert!(other.is_none_or(|other| other == kind.kind), "{kind:?}");
    }
}

#[test]
fn keys_lie_where_upstream_puts_them() {
    let key = |group, version, resource, namespace, name| {
        let kind = find(group, version, resource).expect("served");
        kind.storage.as_ref().expect("stored").key(namespace, name)
    };
    assert_eq!(key("", "v1", "pods", "a", "b"), "/registry/pods/a/b");
    assert_eq!(key("", "v1", "nodes", "", "b"), "/registry/minions/b");
    assert_eq!(
        key("", "v1", "services", "a", "b"),
        "/registry/services/specs/a/b"
    );
    assert_eq!(
        key("networking.k8s.io", "v1", "ingresses", "a", "b"),
        "/registry/ingress/a/b"
    );
    assert_eq!(
        key("events.k8s.io", "v1", "events", "a", "b"),
        "/registry/events/a/b"
    );
}

#[test]
fn storage_version_hashes_are_those_that_upstream_tells() {
    for (group, version, resource, hash) in [
        ("", "v1", "pods", Some("xPOwRZ+Yhw8=")),
        ("apps", "v1", "deployments", Some("8aSe+NMegvE=")),
        (
            "autoscaling",
            "v1",
            "horizontalpodautoscalers",
            Some("qwQve8ut294="),
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            Some("jfWCUB31mvA="),
        ),
        ("", "v1", "bindings", None),
    ] {
        let kind = find(group, version, resource).expect("served");
        assert_eq!(kind.storage_version_hash().as_deref(), hash, "{resource}");
    }
}

#[test]
fn discovery_equals_a_recorded_server() {
    let Some(root) = recorded() else { return };
    let mut expected = Vec::new();
    for file in ["api.aggregated.json", "apis.aggregated.json"] {
        let list = read(&root.join(file));
        for group in list["items"].as_array().expect("groups") {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().expect("versions") {
                for resource in version["resources"].as_array().expect("resources") {
                    let version = version["version"].as_str().expect("named");
                    expected.push((name.to_owned(), version.to_owned(), resource.clone()));
                }
            }
        }
    }
    assert_eq!(expected.len(), all().len());
    for ((group, version, resource), kind) in expected.iter().zip(all()) {
        assert_eq!((&*kind.group, &*kind.version), (&**group, &**version));
        assert_eq!(resource["resource"], *kind.plural);
        assert_eq!(resource["responseKind"]["kind"], *kind.kind);
        assert_eq!(resource["singularResource"], *kind.singular);
        assert_eq!(
            resource["scope"] == "Namespaced",
            kind.namespaced,
            "{kind:?}"
        );
        assert_eq!(strings(&resource["verbs"]), kind.verbs, "{kind:?}");
        assert_eq!(
            strings(&resource["shortNames"]),
            kind.short_names,
            "{kind:?}"
        );
        assert_eq!(
            strings(&resource["categories"]),
            kind.categories,
            "{kind:?}"
        );
        let none = Vec::new();
        let subs = resource["subresources"].as_array().unwrap_or(&none);
        assert_eq!(subs.len(), kind.subresources.len(), "{kind:?}");
        for (sub, ours) in subs.iter().zip(&kind.subresources) {
            assert_eq!(sub["subresource"], *ours.name);
            assert_eq!(sub["responseKind"]["kind"], *ours.kind, "{kind:?}");
            assert_eq!(sub["responseKind"]["group"], *ours.group, "{kind:?}");
            assert_eq!(sub["responseKind"]["version"], *ours.version, "{kind:?}");
            assert_eq!(strings(&sub["verbs"]), ours.verbs, "{kind:?}");
        }
        check_hash(&root, kind);
    }
}

fn check_hash(root: &Path, kind: &Kind) {
    let file = match &*kind.group {
        "" => format!("resources/api_{}.json", kind.version),
        group => format!("resources/apis_{group}_{}.json", kind.version),
    };
    let list = read(&root.join(file));
    let entry = list["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .find(|entry| entry["name"] == *kind.plural)
        .expect("listed");
    let hash = entry["storageVersionHash"].as_str();
    assert_eq!(kind.storage_version_hash().as_deref(), hash, "{kind:?}");
}

#[test]
fn defaulting_is_settled_after_one_pass_and_survives_anything() {
    for kind in all() {
        for spec in [
            serde_json::json!({"spec": {}}),
            serde_json::json!({}),
            serde_json::json!({"spec": 7, "metadata": [], "status": "x", "webhooks": {}, "data": 1}),
            serde_json::json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}),
        ] {
            let mut once = spec.as_object().expect("a map").clone();
            (kind.defaults)(&mut once);
            let mut twice = once.clone();
            (kind.defaults)(&mut twice);
            assert_eq!(once, twice, "{kind:?}");
        }
    }
}

#[test]
fn no_input_makes_validation_or_a_cell_panic() {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let context = crate::Context {
        now,
        requester: None,
    };
    let cells = crate::CellContext { now };
    for kind in all() {
        for tree in [
            serde_json::json!({}),
            serde_json::json!({"metadata": {"name": "é-"}, "spec": {"ports": [7], "selector": 1, "template": []}}),
            serde_json::json!({"spec": {"containers": [{"ports": [{}], "env": [{}]}], "rules": [{}]}, "rules": [{}], "subjects": [{}]}),
        ] {
            let mut new = tree.as_object().expect("a map").clone();
            let old = new.clone();
            for column in &kind.columns {
                let _ = (column.cell)(&new, &cells);
            }
            let _ = crate::lifecycle::before_update(kind, &context, "", &mut new, &old);
            let _ = crate::lifecycle::before_update(kind, &context, "status", &mut new, &old);
            let _ = crate::lifecycle::before_create(kind, &context, &mut new);
        }
    }
}

use kontiki_schema::Schema;
use serde_json::{Value, json};

use super::*;

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn node(name: &str) -> Node<'static> {
    Node::of(Schema::get().type_by_name(name).expect("known"))
}

/// An object on a small server: every write goes through this crate.
struct Served {
    node: Node<'static>,
    api_version: &'static str,
    kind: &'static str,
    live: Option<Value>,
    reset: FieldSet,
    now: &'static str,
}

impl Served {
    fn config_map() -> Self {
        Self::new("io.k8s.api.core.v1.ConfigMap", "v1", "ConfigMap")
    }

    fn deployment() -> Self {
        Self::new("io.k8s.api.apps.v1.Deployment", "apps/v1", "Deployment")
    }

    fn new(name: &str, api_version: &'static str, kind: &'static str) -> Self {
        let reset = FieldSet::of_members(&[&["status"]]);
        Self {
            node: node(name),
            api_version,
            kind,
            live: None,
            reset,
            now: T1,
        }
    }

    fn writer<'a>(&'a self, manager: &'a str) -> Writer<'a> {
        Writer {
            manager,
            api_version: self.api_version,
            subresource: "",
            now: self.now,
            reset: &self.reset,
        }
    }

    fn store(&mut self, mut object: Value) -> Value {
        let ty = self.node.type_ref().expect("built in");
        normal::normalise(ty, &mut object);
        object["metadata"]["uid"] = json!("u");
        self.live = Some(object.clone());
        object
    }

    fn apply(
        &mut self,
        manager: &str,
        force: bool,
        mut config: Value,
    ) -> Result<Value, ApplyError> {
        let members = config.as_object_mut().expect("an object");
        members.insert("apiVersion".to_owned(), json!(self.api_version));
        members.insert("kind".to_owned(), json!(self.kind));
        members.entry("metadata").or_insert_with(|| json!({}))["name"] = json!("c");
        let empty = empty_object(self.node, self.api_version, self.kind);
        let live = self.live.as_ref().unwrap_or(&empty);
        let merged = apply(self.node, live, &config, self.writer(manager), force)?;
        Ok(self.store(merged))
    }

    fn update(&mut self, manager: &str, change: &Value) -> Value {
        let old = self
            .live
            .clone()
            .unwrap_or_else(|| empty_object(self.node, self.api_version, self.kind));
        let mut new = old.clone();
        crate::merge(&mut new, change);
        normal::normalise(self.node.type_ref().expect("built in"), &mut new);
        let tracked = track_update(self.node, &old, &new, self.writer(manager));
        self.store(tracked)
    }
}

/// `manager operation time fields` of every entry.
fn owners(object: &Value) -> Vec<(String, String, Value)> {
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            (
                format!("{} {}", text("manager"), text("operation")),
                text("time"),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

fn owner(object: &Value, who: &str) -> Value {
    owners(object)
        .into_iter()
        .find(|(name, ..)| name == who)
        .map(|(.., fields)| fields)
        .unwrap_or_default()
}

#[test]
fn an_applier_owns_what_it_applies_and_loses_what_it_drops() {
    let mut map = Served::config_map();
    let object = map
        .apply("m1", false, json!({"data": {"a": "1", "b": "2"}}))
        .expect("applies");
    assert_eq!(
        owner(&object, "m1 Apply"),
        json!({"f:data": {"f:a": {}, "f:b": {}}})
    );
    let object = map
        .apply("m1", false, json!({"data": {"b": "2"}}))
        .expect("applies");
    assert_eq!(object["data"], json!({"b": "2"}));
    let object = map.apply("m1", false, json!({})).expect("applies");
    assert_eq!(
        (object.get("data"), object["metadata"].get("managedFields")),
        (None, None)
    );
}

#[test]
fn a_conflict_names_the_owner_and_force_takes_the_field() {
    let mut map = Served::config_map();
    map.apply("m1", false, json!({"data": {"a": "1", "b": "1"}}))
        .expect("applies");
    let error = map
        .apply("m2", false, json!({"data": {"a": "2"}}))
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let error = map
        .apply("m2", false, json!({"data": {"a": "2", "b": "2"}}))
        .expect_err("conflicts");
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let object = map
        .apply("m2", true, json!({"data": {"a": "2"}}))
        .expect("forced");
    assert_eq!(owner(&object, "m1 Apply"), json!({"f:data": {"f:b": {}}}));
    assert_eq!(owner(&object, "m2 Apply"), json!({"f:data": {"f:a": {}}}));
}

#[test]
fn equal_values_are_owned_together_and_stay_when_one_leaves() {
    let mut map = Served::config_map();
    map.apply("m1", false, json!({"data": {"a": "1"}}))
        .expect("applies");
    map.now = T2;
    let object = map
        .apply("m2", false, json!({"data": {"a": "1"}}))
        .expect("applies");
    // Nothing changed, so the newcomer has no time.
    assert_eq!(
        owners(&object)
            .iter()
            .map(|(name, time, _)| (name.as_str(), time.as_str()))
            .collect::<Vec<_>>(),
        [("m2 Apply", "-"), ("m1 Apply", T1)]
    );
    let object = map
        .apply("m1", false, json!({"data": {}}))
        .expect("applies");
    assert_eq!(object["data"], json!({"a": "1"}));
    assert_eq!(owner(&object, "m1 Apply"), json!({"f:data": {}}));
    let object = map
        .apply("m2", false, json!({"data": {}}))
        .expect("applies");
    assert_eq!(object.get("data"), None);
}

#[test]
fn updates_own_what_they_change_and_conflict_with_appliers() {
    let mut map = Served::config_map();
    let object = map.update(
        "kubectl-create",
        &json!({"metadata": {"name": "c", "labels": {"l": "1"}}, "data": {"a": "1", "b": "2"}}),
    );
    assert_eq!(
        owner(&object, "kubectl-create Update"),
        json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}})
    );
    let error = map
        .apply("m1", false, json!({"data": {"a": "x"}}))
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.a"
    );
    let object = map.update("patcher", &json!({"data": {"a": "5"}}));
    assert_eq!(
        owner(&object, "patcher Update"),
        json!({"f:data": {"f:a": {}}})
    );
    assert_eq!(
        owner(&object, "kubectl-create Update")["f:data"],
        json!({".": {}, "f:b": {}})
    );
    let object = map.update("patcher", &json!({"data": {"a": null}}));
    assert_eq!(owner(&object, "patcher Update"), Value::Null);
}

#[test]
fn list_items_are_owned_by_their_keys_with_defaults() {
    let mut deployment = Served::deployment();
    let config = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i", "command": ["a", "b"], "ports": [{"containerPort": 80}]}]}}}});
    let object = deployment.apply("m1", false, config).expect("applies");
    let containers = &owner(&object, "m1 Apply")["f:spec"]["f:template"]["f:spec"]["f:containers"];
    assert_eq!(
        *containers,
        json!({"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:command": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}})
    );
    assert_eq!(
        owner(&object, "m1 Apply")["f:spec"]["f:selector"],
        json!({})
    );
    let other =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "command": ["b"]}]}}}});
    let error = deployment
        .apply("m2", false, other.clone())
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.template.spec.containers[name=\"c\"].command"
    );
    let object = deployment.apply("m2", true, other).expect("forced");
    assert_eq!(
        owner(&object, "m2 Apply")["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"c\"}": {".": {}, "f:command": {}, "f:name": {}}})
    );
}

#[test]
fn items_follow_the_applied_order_and_unowned_ones_go() {
    let mut deployment = Served::deployment();
    let containers = |names: &[&str]| {
        let list: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "image": "i"}))
            .collect();
        json!({"spec": {"template": {"spec": {"containers": list}}}})
    };
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        list.iter()
            .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    deployment
        .apply("m1", false, containers(&["a", "b", "c"]))
        .expect("applies");
    let object = deployment
        .apply("m1", false, containers(&["c", "a", "b"]))
        .expect("applies");
    assert_eq!(names(&object), ["c", "a", "b"]);
    let object = deployment
        .apply("m1", false, containers(&["a"]))
        .expect("applies");
    assert_eq!(names(&object), ["a"]);
}

#[test]
fn a_create_owns_maps_but_not_the_structs_that_are_always_there() {
    let mut deployment = Served::deployment();
    let object = deployment.update("corpus", &json!({"metadata": {"name": "d"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "x"}}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"securityContext": {},
            "containers": [{"name": "c", "image": "i"}]}}}, "status": {"replicas": 3}}));
    assert_eq!(
        owner(&object, "corpus Update"),
        json!({"f:spec": {"f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}},
                "f:securityContext": {}}}}})
    );
}

#[test]
fn what_was_there_before_belongs_to_nobody_that_applies() {
    let mut map = Served::config_map();
    map.apply("m1", false, json!({"data": {"a": "1"}}))
        .expect("applies");
    let object = map.update("corpus", &json!({"metadata": {"managedFields": [{}]}}));
    assert_eq!(object["metadata"].get("managedFields"), None);
    let error = map
        .apply("m2", false, json!({"data": {"a": "2"}}))
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_client_side() {
    let mut map = Served::config_map();
    let last = r#"{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"c"}}"#;
    map.update("kubectl-client-side-apply", &json!({"metadata": {"name": "c",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}, "data": {"a": "1", "b": "2"}}));
    map.now = T2;
    let object = map
        .apply("kubectl", false, json!({"data": {"a": "2"}}))
        .expect("upgraded");
    assert_eq!(
        owner(&object, "kubectl Apply"),
        json!({"f:data": {"f:a": {}}})
    );
    assert_eq!(
        owner(&object, "kubectl-client-side-apply Update")["f:data"],
        json!({".": {}, "f:b": {}})
    );
    let annotation =
        object.pointer("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
    assert!(
        annotation
            .and_then(Value::as_str)
            .is_some_and(|text| text.contains("\"a\":\"2\""))
    );
    let error = map
        .apply("kubectl", false, json!({"data": {"a": "2", "b": "9"}}))
        .expect_err("not applied before");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.b"
    );
}

#[test]
fn what_does_not_fit_the_type_is_told() {
    let cases = [
        (
            json!({"spec": {"replicas": "x"}}),
            ".spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!({"spec": {"nonsense": 1}}),
            ".spec.nonsense: field not declared in schema",
        ),
        (
            json!({"metadata": {"finalizers": ["example.com/a", "example.com/a"]}}),
            ".metadata.finalizers: duplicate entries for key [=\"example.com/a\"]",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}}),
            ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
    ];
    for (config, text) in cases {
        let error = Served::deployment()
            .apply("m1", false, config)
            .expect_err("does not fit");
        assert_eq!(
            error.to_string(),
            format!("failed to create typed patch object (/c; apps/v1, Kind=Deployment): {text}")
        );
    }
    let given = json!({"metadata": {"managedFields": [{"manager": "x"}]}});
    let error = Served::config_map()
        .apply("m1", false, given)
        .expect_err("not allowed");
    assert_eq!(error, ApplyError::ManagedFieldsGiven);
}

#[test]
fn the_oldest_updaters_become_one() {
    let mut map = Served::config_map();
    for at in 0..12 {
        map.update(
            &format!("m{at:02}"),
            &json!({"data": {format!("k{at:02}"): "1"}}),
        );
    }
    let object = map.live.expect("stored");
    let names: Vec<String> = owners(&object).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), UPDATE_MANAGERS_MAX);
    assert_eq!(names[0], "ancient-changes Update");
    assert_eq!(
        owner(&object, "ancient-changes Update"),
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}}})
    );
}

use kontiki_schema::Schema;
use serde_json::json;

use super::*;

fn deployment() -> Node<'static> {
    Node::of(
        Schema::get()
            .type_by_name("io.k8s.api.apps.v1.Deployment")
            .expect("known"),
    )
}

fn pod_spec(patch: Value) -> Result<Value, PatchError> {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {
            "containers": [
                {"name": "a", "image": "a:1", "env": [{"name": "E1", "value": "1"}, {"name": "E2", "value": "2"}],
                 "ports": [{"containerPort": 80, "name": "http"}]},
                {"name": "b", "image": "b:1"}],
            "tolerations": [{"key": "x"}],
            "volumes": [{"name": "v", "emptyDir": {}}]}}}});
    let patch = json!({"spec": {"template": {"spec": patch}}});
    let merged = strategic_merge_patch(deployment(), &object, patch.to_string().as_bytes())?;
    Ok(merged["spec"]["template"]["spec"].clone())
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect()
}

#[test]
fn lists_merge_by_their_key_and_new_items_come_first() {
    let spec = pod_spec(
        json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "n", "image": "n:1"}]}),
    )
    .expect("fits");
    assert_eq!(names(&spec["containers"]), ["a", "b", "n"]);
    assert_eq!(spec["containers"][1]["image"], "b:2");
    let spec = pod_spec(json!({"containers": [{"name": "n"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["n", "a", "b"]);
    let spec = pod_spec(json!({"tolerations": [{"key": "y"}]})).expect("fits");
    assert_eq!(spec["tolerations"], json!([{"key": "y"}]));
}

#[test]
fn directives_delete_and_replace() {
    let spec = pod_spec(json!({"containers": [{"name": "b", "$patch": "delete"}, {"name": "a", "env": [{"name": "E1", "$patch": "delete"}]}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["a"]);
    assert_eq!(names(&spec["containers"][0]["env"]), ["E2"]);
    let spec =
        pod_spec(json!({"containers": [{"name": "n"}, {"$patch": "replace"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["n"]);
    let spec =
        pod_spec(json!({"containers": [{"name": "absent", "$patch": "delete"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["a", "b"]);
    let spec =
        pod_spec(json!({"affinity": {"nodeAffinity": null}, "containers": null})).expect("fits");
    assert_eq!(
        (spec.get("affinity"), spec.get("containers")),
        (Some(&json!({})), None)
    );
}

#[test]
fn retain_keys_drop_the_rest() {
    let spec = pod_spec(json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]})).expect("fits");
    assert_eq!(
        spec["volumes"],
        json!([{"name": "v", "configMap": {"name": "c"}}])
    );
    let error =
        pod_spec(json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "configMap": {}}]}))
            .expect_err("bad");
    assert_eq!(error.to_string(), "invalid patch format of retainKeys");
}

#[test]
fn an_order_is_kept() {
    let spec = pod_spec(json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}))
        .expect("fits");
    assert_eq!(names(&spec["containers"]), ["b", "a"]);
    let spec = pod_spec(
        json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "n"}, {"name": "b"}],
        "containers": [{"name": "n"}]}),
    )
    .expect("fits");
    assert_eq!(names(&spec["containers"]), ["a", "n", "b"]);
    let error = pod_spec(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "q", "image": "q:1"}]})).expect_err("bad");
    assert_eq!(
        error.to_string(),
        "The order in patch list:\n[map[image:q:1 name:q]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"
    );
}

#[test]
fn primitive_lists_merge_and_lose_what_is_named() {
    let node = Node::of(
        Schema::get()
            .type_by_name("io.k8s.api.core.v1.ConfigMap")
            .expect("known"),
    );
    let object = json!({"metadata": {"finalizers": ["a", "b"]}});
    let run = |patch: Value| {
        strategic_merge_patch(
            node,
            &object,
            json!({"metadata": patch}).to_string().as_bytes(),
        )
        .expect("fits")
    };
    assert_eq!(
        run(json!({"finalizers": ["c"]}))["metadata"]["finalizers"],
        json!(["c", "a", "b"])
    );
    assert_eq!(
        run(json!({"$deleteFromPrimitiveList/finalizers": ["a"]}))["metadata"]["finalizers"],
        json!(["b"])
    );
    assert_eq!(
        run(json!({"$setElementOrder/finalizers": ["b", "a"]}))["metadata"]["finalizers"],
        json!(["b", "a"])
    );
}

#[test]
fn nonsense_is_told_as_clients_know_it() {
    let cases = [
        (
            json!({"containers": [{"image": "noname"}]}),
            "map: map[image:noname] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "explode"}]}),
            "unknown patch type: explode in map: map[$patch:explode name:a]",
        ),
        (
            json!({"$setElementOrder/containers": "x"}),
            "expected a []interface {}, but received a string",
        ),
        (
            json!({"containers": {"name": "a"}}),
            "patch: Invalid value: \"map[spec:map[template:map[spec:map[containers:map[name:a]]]]]\": cannot restore slice from map",
        ),
    ];
    for (patch, text) in cases {
        assert_eq!(pod_spec(patch).expect_err("nonsense").to_string(), text);
    }
    let error = strategic_merge_patch(deployment(), &json!({}), b"[]").expect_err("no object");
    assert_eq!(
        error,
        PatchError::Malformed(
            "json: cannot unmarshal array into Go value of type map[string]interface {}".to_owned()
        )
    );
}

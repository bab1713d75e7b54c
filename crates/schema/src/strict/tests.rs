use super::*;
use serde_json::json;

fn node(name: &str) -> Node<'static> {
    Node::of(Schema::get().type_by_name(name).expect("known"))
}

#[test]
fn unknown_and_duplicate_members_are_told_in_the_order_of_the_text() {
    let text = br#"{"metadata":{"name":"x","nope":1},"data":{"a":"1","a":"2"},"extra":true}"#;
    let (value, problems) = parse(text, node("io.k8s.api.core.v1.ConfigMap")).expect("JSON");
    assert_eq!(value["data"]["a"], "2");
    assert_eq!(
        message(&problems),
        r#"strict decoding error: unknown field "metadata.nope", duplicate field "data.a", unknown field "extra""#
    );
}

#[test]
fn names_are_compared_by_case() {
    let (_, problems) = parse(
        br#"{"Metadata":{},"Data":{}}"#,
        node("io.k8s.api.core.v1.ConfigMap"),
    )
    .expect("JSON");
    assert_eq!(
        message(&problems),
        r#"strict decoding error: unknown field "Metadata", unknown field "Data""#
    );
}

#[test]
fn items_are_named_by_their_place() {
    let pod = json!({"spec": {"containers": [{"name": "a"}, {"nmae": "b"}]}});
    let ty = Schema::get()
        .type_by_name("io.k8s.api.core.v1.Pod")
        .expect("known");
    assert_eq!(unknown_fields(ty, &pod), ["spec.containers[1].nmae"]);
}

#[test]
fn custom_schemas_are_walked_and_preserved_parts_are_left_alone() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let text = br#"{"apiVersion":"a/v1","metadata":{"name":"n","x":1},"spec":{"size":1,"extra":2,"free":{"any":{"a":1,"a":2}}},"top":1}"#;
    let (_, problems) = parse(text, Node::custom(&schema)).expect("JSON");
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        texts,
        [
            "unknown field \"metadata.x\"",
            "unknown field \"spec.extra\"",
            "duplicate field \"spec.free.any.a\"",
            "unknown field \"top\""
        ]
    );
}

#[test]
fn wrong_types_are_told_as_clients_know_them() {
    let cases = [
        (
            "io.k8s.api.apps.v1.Deployment",
            json!({"spec": {"replicas": "many"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "io.k8s.api.core.v1.ConfigMap",
            json!({"data": {"a": 1}}),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "io.k8s.api.core.v1.ServiceAccount",
            json!({"secrets": "x"}),
            "json: cannot unmarshal string into Go struct field ServiceAccount.secrets of type []v1.ObjectReference",
        ),
        (
            "io.k8s.api.coordination.v1.Lease",
            json!({"spec": {"renewTime": "yesterday"}}),
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"yesterday\" as \"2006\"",
        ),
        (
            "io.k8s.api.core.v1.Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "io.k8s.api.core.v1.ConfigMap",
            json!({"binaryData": {"a": "$$"}}),
            "illegal base64 data at input byte 0",
        ),
    ];
    for (name, value, text) in cases {
        let ty = Schema::get().type_by_name(name).expect("known");
        assert_eq!(check_types(ty, &value).as_deref(), Some(text), "{name}");
    }
    let ty = Schema::get()
        .type_by_name("io.k8s.api.core.v1.Pod")
        .expect("known");
    assert_eq!(
        check_types(
            ty,
            &json!({"metadata": {"name": null}, "spec": {"containers": []}})
        ),
        None
    );
}

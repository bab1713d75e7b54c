use kontiki_schema::Schema;
use kontiki_schema::node::Node;
use serde_json::json;

use super::*;

fn service() -> Node<'static> {
    Node::of(
        Schema::get()
            .type_by_name("io.k8s.api.core.v1.Service")
            .expect("known"),
    )
}

#[test]
fn comparing_an_object_with_itself_finds_nothing() {
    let object = json!({"metadata": {"name": "s", "finalizers": ["a", "b"]}, "spec": {"ports": [{"port": 1}, {"port": 2}]}});
    assert_eq!(compare(service(), &object, &object), Comparison::default());
}

#[test]
fn removing_all_that_is_set_leaves_nothing_set() {
    let object = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "name": "a"}], "selector": {"a": "b"}}});
    let all = field_set(service(), &object);
    let left = remove(service(), &object, &all);
    assert_eq!(
        field_set(service(), &left).intersection(&all),
        FieldSet::new()
    );
}

#[test]
fn merging_is_idempotent_and_the_applied_side_wins() {
    let live = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 1, "name": "x"}, {"port": 3}], "selector": {"a": "1"}}});
    let applied = json!({"spec": {"type": "NodePort", "ports": [{"port": 2}, {"port": 1, "name": "y"}], "selector": {"b": "2"}}});
    let once = merge_typed(service(), &live, &applied);
    assert_eq!(
        once,
        json!({"spec": {"type": "NodePort", "selector": {"b": "2"},
            "ports": [{"port": 2}, {"port": 1, "name": "y"}, {"port": 3}]}})
    );
    assert_eq!(merge_typed(service(), &once, &applied), once);
}

#[test]
fn custom_types_follow_their_schema() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "hosts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "ip": {"type": "string"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "args": {"type": "array", "items": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let object = json!({"spec": {"hosts": [{"name": "a", "ip": "1"}], "tags": ["t"], "args": ["x"], "free": {"k": {"l": 1}}}});
    assert_eq!(
        field_set(Node::custom(&schema), &object).to_fields_v1(),
        json!({"f:spec": {"f:args": {}, "f:tags": {"v:\"t\"": {}},
            "f:hosts": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:ip": {}}},
            "f:free": {"f:k": {".": {}, "f:l": {}}}}})
    );
}

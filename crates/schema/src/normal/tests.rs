use serde_json::json;

use super::*;
use crate::Schema;

fn normal(kind: &str, mut value: Value) -> Value {
    let ty = Schema::get().type_by_name(kind).expect("known");
    normalise(ty, &mut value);
    value
}

#[test]
fn a_pod_is_shown_as_go_would_show_it() {
    let given = json!({"apiVersion": "v1", "kind": "Pod", "nonsense": 1, "metadata": {"name": "a", "labels": null},
        "spec": {"hostNetwork": false, "hostUsers": false, "nodeName": "", "priority": 0, "volumes": [],
            "containers": [{"name": "c", "image": "i", "stdin": false,
                "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": 1}}}]}});
    let shown = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"hostUsers": false, "priority": 0, "containers": [{"name": "c", "image": "i",
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "1"}}}]},
        "status": {}});
    assert_eq!(normal("io.k8s.api.core.v1.Pod", given), shown);
}

#[test]
fn unset_lists_without_omitempty_are_null_and_times_are_cut_to_seconds() {
    let role = normal(
        "io.k8s.api.rbac.v1.ClusterRole",
        json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.9Z"}}),
    );
    assert_eq!(
        role,
        json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}, "rules": null})
    );
}

#[test]
fn normal_form_is_a_fixed_point_for_every_kind() {
    for (_, ty) in Schema::get().kinds() {
        let mut once = Value::Null;
        normalise(ty, &mut once);
        let mut twice = once.clone();
        normalise(ty, &mut twice);
        assert_eq!(once, twice, "{}", ty.name);
    }
}

use super::*;
use crate::find;
use serde_json::json;

fn tree(value: Value) -> Tree {
    value.as_object().expect("a map").clone()
}

fn context() -> Context<'static> {
    Context {
        now: "2026-01-02T03:04:05Z".parse().expect("a time"),
        requester: None,
    }
}

#[test]
fn a_pod_is_deleted_with_the_grace_it_asks_for_and_the_grace_only_shrinks() {
    let pods = find("", "v1", "pods").expect("served");
    let mut pod = tree(json!({
        "metadata": {"name": "a", "namespace": "b", "generation": 1},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30},
        "status": {"phase": "Running"},
    }));
    let ask = |seconds| DeleteOptions {
        grace_period_seconds: seconds,
    };
    let outcome = before_delete(pods, &context(), &mut pod, ask(None));
    assert_eq!(outcome, Deletion::Graceful);
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(pod["metadata"]["generation"], 2);
    for (seconds, outcome, left) in [
        (Some(40), Deletion::Pending, 30),
        (None, Deletion::Pending, 30),
        (Some(10), Deletion::Graceful, 10),
        (Some(0), Deletion::Immediate, 0),
        (Some(0), Deletion::Immediate, 0),
    ] {
        assert_eq!(
            before_delete(pods, &context(), &mut pod, ask(seconds)),
            outcome,
            "{seconds:?}"
        );
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], left);
    }
}

#[test]
fn an_update_keeps_what_the_system_set_and_counts_changes_of_the_spec() {
    let kind = find("apps", "v1", "deployments").expect("served");
    let old = tree(json!({
        "metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "5",
            "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 1},
    }));
    let mut old = old;
    (kind.defaults)(&mut old);
    let mut new = old.clone();
    new["metadata"] =
        json!({"name": "a", "namespace": "b", "resourceVersion": "5", "generation": 9});
    new["spec"]["replicas"] = 2.into();
    new["status"] = json!({"replicas": 7});
    before_update(kind, &context(), "", &mut new, &old).expect("valid");
    assert_eq!(new["metadata"]["generation"], 4);
    assert_eq!(new["metadata"]["uid"], "u");
    assert_eq!(new["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(new["status"]["replicas"], 1);

    let mut status = old.clone();
    status["spec"]["replicas"] = 9.into();
    status["status"] = json!({"replicas": 7});
    before_update(kind, &context(), "status", &mut status, &old).expect("valid");
    assert_eq!(status["metadata"]["generation"], 3);
    assert_eq!(status["spec"]["replicas"], 1);
    assert_eq!(status["status"]["replicas"], 7);
}

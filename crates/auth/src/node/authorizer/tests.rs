use super::*;
use crate::user::NODES;
use kontiki_object::{FieldSelector, Object};
use serde_json::json;

fn object(tree: serde_json::Value) -> Object {
    Object::from_value(tree).expect("a map")
}

fn pod(name: &str, node: &str, secret: &str) -> Object {
    object(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"nodeName": node, "serviceAccountName": "sa", "volumes": [
            {"name": "s", "secret": {"secretName": secret}},
            {"name": "v", "persistentVolumeClaim": {"claimName": format!("{name}-claim")}}]},
    }))
}

fn graph() -> Arc<Graph> {
    let graph = Graph::default();
    graph.upsert_pod(&pod("a", "n1", "shared"));
    graph.upsert_pod(&pod("b", "n1", "shared"));
    graph.upsert_pod(&pod("c", "n2", "other"));
    graph.upsert_volume(&object(json!({
        "metadata": {"name": "pv"},
        "spec": {"claimRef": {"namespace": "ns", "name": "a-claim"},
                 "csi": {"nodeStageSecretRef": {"namespace": "storage", "name": "stage"}}},
    })));
    graph.upsert_attachment(&object(
        json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}),
    ));
    Arc::new(graph)
}

fn ask(verb: &str, what: &str, namespace: &str, name: &str) -> Attributes {
    let (group, resource) = what.rsplit_once(':').unwrap_or(("", what));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: Arc::new(UserInfo::new("system:node:n1", &[NODES])),
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        is_resource: true,
        ..Attributes::default()
    }
}

fn selecting(mut attributes: Attributes, selector: &str) -> Attributes {
    attributes.field_selector = Some(FieldSelector::parse(selector).expect("well-formed"));
    attributes
}

#[tokio::test]
async fn a_node_sees_what_its_pods_need() {
    let authorizer = NodeAuthorizer::new(graph());
    let coordination = "coordination.k8s.io:leases";
    let cases = [
        (ask("get", "secrets", "ns", "shared"), true),
        (ask("watch", "secrets", "ns", "shared"), true),
        (ask("list", "secrets", "ns", ""), false),
        (ask("get", "secrets", "ns", "other"), false),
        (ask("get", "secrets", "elsewhere", "shared"), false),
        (ask("update", "secrets", "ns", "shared"), false),
        (ask("get", "secrets", "storage", "stage"), true),
        (ask("get", "configmaps", "ns", "unknown"), false),
        (ask("get", "persistentvolumes", "", "pv"), true),
        (ask("get", "persistentvolumes", "", "pv2"), false),
        (ask("get", "persistentvolumeclaims", "ns", "a-claim"), true),
        (ask("get", "persistentvolumeclaims", "ns", "c-claim"), false),
        (
            ask("get", "storage.k8s.io:volumeattachments", "", "va"),
            true,
        ),
        (ask("create", "serviceaccounts/token", "ns", "sa"), true),
        (
            ask("create", "serviceaccounts/token", "ns", "default"),
            false,
        ),
        (ask("update", coordination, "kube-node-lease", "n1"), true),
        (ask("update", coordination, "kube-node-lease", "n2"), false),
        (ask("update", coordination, "kube-system", "n1"), false),
        (ask("get", "nodes", "", "n1"), true),
        (ask("get", "nodes", "", "n2"), false),
        (ask("patch", "nodes/status", "", "n1"), true),
        (ask("patch", "nodes/status", "", "n2"), false),
        (ask("delete", "nodes", "", "n1"), false),
        (ask("get", "pods", "ns", "a"), true),
        (ask("get", "pods", "ns", "c"), false),
        (ask("list", "pods", "", ""), false),
        (
            selecting(ask("list", "pods", "", ""), "spec.nodeName=n1"),
            true,
        ),
        (
            selecting(ask("list", "pods", "", ""), "spec.nodeName=n2"),
            false,
        ),
        (
            selecting(ask("watch", "nodes", "", ""), "metadata.name=n1"),
            true,
        ),
        (
            selecting(ask("watch", "nodes", "", ""), "metadata.name=n2"),
            false,
        ),
        (ask("patch", "pods/status", "ns", "a"), true),
        (ask("list", "services", "", ""), true),
        (ask("create", "events", "ns", ""), true),
        (ask("create", "deployments", "ns", ""), false),
    ];
    for (attributes, expected) in cases {
        let decision = authorizer.authorize(&attributes).await;
        assert_eq!(decision.is_allowed(), expected, "{attributes:?}");
    }
}

#[tokio::test]
async fn what_a_gone_or_finished_pod_needed_is_out_of_sight() {
    let graph = graph();
    let authorizer = NodeAuthorizer::new(graph.clone());
    let asked = ask("get", "secrets", "ns", "shared");
    graph.remove_pod("ns/a");
    assert!(
        authorizer.authorize(&asked).await.is_allowed(),
        "b needs it"
    );
    let mut done = pod("b", "n1", "shared").into_tree();
    done.insert("status".into(), json!({"phase": "Succeeded"}));
    graph.upsert_pod(&Object::new(done));
    assert!(!authorizer.authorize(&asked).await.is_allowed());
}

#[tokio::test]
async fn only_nodes_are_judged() {
    let authorizer = NodeAuthorizer::new(graph());
    for user in [
        UserInfo::new("system:node:n1", &[]),
        UserInfo::new("jane", &[NODES]),
        UserInfo::new("system:node:", &[NODES]),
    ] {
        let mut asked = ask("get", "secrets", "ns", "shared");
        asked.user = Arc::new(user);
        assert!(!authorizer.authorize(&asked).await.is_allowed());
    }
}

#[tokio::test]
async fn the_graph_follows_the_caches() {
    let cache = || Arc::new(kontiki_client::ObjectCache::new(Vec::new()));
    let caches = crate::node::GraphCaches {
        pods: cache(),
        persistent_volumes: cache(),
        volume_attachments: cache(),
    };
    let graph = Arc::new(Graph::default());
    let cancel = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(graph.clone().follow(caches.clone(), cancel.clone()));
    let reaches = async |expected: bool| {
        while graph.needs("n1", Kind::Secret, "ns", "s") != expected {
            tokio::task::yield_now().await;
        }
    };
    caches.pods.upsert(Arc::new(pod("a", "n1", "s")));
    reaches(true).await;
    // Another pod of the same name elsewhere takes the need along.
    caches.pods.upsert(Arc::new(pod("a", "n2", "s")));
    reaches(false).await;
    assert!(graph.needs("n2", Kind::Secret, "ns", "s"));
    cancel.cancel();
    following.await.expect("it ends");
}

//! Nobody gives away what they do not have, whatever the way of asking.

use crate::world::{As, World, refusal};
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kontiki_auth::UserInfo;
use kontiki_auth::authn::InProcessIdentity;
use kontiki_client::PatchKind;
use kontiki_object::Status;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLES: &str = "rbac.authorization.k8s.io/v1/roles";
const CLUSTER_ROLES: &str = "rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "rbac.authorization.k8s.io/v1/rolebindings";
const CLUSTER_BINDINGS: &str = "rbac.authorization.k8s.io/v1/clusterrolebindings";

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

/// May write the policy, and holds a little to give away.
fn limited() -> Vec<Value> {
    let written = [
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
    ];
    vec![
        rule(&["create", "update", "patch", "get"], &[GROUP], &written),
        rule(&["get", "list"], &[""], &["pods"]),
    ]
}

fn user(name: &str) -> UserInfo {
    UserInfo::new(name, &["testers"])
}

/// `limited`, and users who may do one thing more each.
async fn start() -> World {
    let world = World::start().await;
    let more = |extra: Value| {
        let mut rules = limited();
        rules.push(extra);
        Value::from(rules)
    };
    let named = |verb: &str, name: &str| {
        json!({
            "verbs": [verb], "apiGroups": [GROUP], "resources": ["clusterroles", "roles"],
            "resourceNames": [name],
        })
    };
    world.grant(&[
        ("limited", limited().into()),
        ("escalator", more(named("escalate", "r"))),
        ("binder", more(named("bind", "strong"))),
        ("strong", json!([rule(&["get"], &[""], &["secrets"])])),
        ("weak", json!([rule(&["list"], &[""], &["pods"])])),
    ]);
    world
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": name, "namespace": "default"}, "rules": rules,
    })
}

fn secrets() -> Value {
    rule(&["get", "list"], &[""], &["secrets"])
}

fn refused(resource: &str, name: &str, who: &str, missing: &str) -> String {
    format!(
        "{resource}.rbac.authorization.k8s.io {name:?} is forbidden: user {who:?} (groups=[\"testers\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{missing}"
    )
}

const SECRETS: &str = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";

#[tokio::test]
async fn a_role_holds_at_most_what_its_writer_has() {
    let world = start().await;
    let own = world.user(&user("limited"));
    let pods = rule(&["get"], &[""], &["pods"]);
    own.make(ROLES, role("r", std::slice::from_ref(&pods)))
        .await;
    let more = own
        .create(ROLES, role("s", &[pods.clone(), secrets()]))
        .await;
    assert_eq!(refusal(more), refused("roles", "s", "limited", SECRETS));
    for (rules, missing) in [
        (
            json!([rule(&["*"], &[""], &["pods"])]),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}",
        ),
        (
            json!([rule(&["get"], &["*"], &["pods"])]),
            "{APIGroups:[\"*\"], Resources:[\"pods\"], Verbs:[\"get\"]}",
        ),
        (
            json!([rule(&["get"], &[""], &["pods/log"])]),
            "{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\"]}",
        ),
        (
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}]),
            "{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"a\"], Verbs:[\"get\"]}",
        ),
    ] {
        let object = json!({"metadata": {"name": "c"}, "rules": rules});
        let outcome = own.create(CLUSTER_ROLES, object).await;
        assert_eq!(
            refusal(outcome),
            refused("clusterroles", "c", "limited", missing)
        );
    }
    let paths = json!({"metadata": {"name": "c"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]});
    let outcome = own.create(CLUSTER_ROLES, paths).await;
    let missing = "{NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}";
    assert_eq!(
        refusal(outcome),
        refused("clusterroles", "c", "limited", missing)
    );
    let gathering = json!({
        "metadata": {"name": "c"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    });
    let outcome = own.create(CLUSTER_ROLES, gathering).await;
    assert_eq!(
        refusal(outcome),
        "clusterroles.rbac.authorization.k8s.io \"c\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
    );
}

/// Every way of changing a role so that it holds these rules.
async fn ways(own: &As, rules: Value) -> Vec<(&'static str, Result<(), Status>)> {
    let target = own.0.namespaced(&crate::world::resource(ROLES), "default");
    let whole = {
        let mut whole = target.get("r").await.expect("it is there").to_value();
        whole["rules"] = rules.clone();
        whole
    };
    let applied = role("r", rules.as_array().expect("a list"));
    let pointed = json!([{"op": "replace", "path": "/rules", "value": rules}]);
    let merged = json!({"rules": rules});
    let mut all = vec![("update", target.update("r", whole).await.map(drop))];
    for (name, kind, body) in [
        ("JSON patch", PatchKind::Json, pointed),
        ("merge patch", PatchKind::Merge, merged.clone()),
        ("strategic merge patch", PatchKind::StrategicMerge, merged),
    ] {
        all.push((name, target.patch("r", kind, body).await.map(drop)));
    }
    all.push(("apply", own.apply(ROLES, applied).await.map(drop)));
    all
}

#[tokio::test]
async fn no_way_of_changing_a_role_leads_around_the_check() {
    let world = start().await;
    let admin = world.admin();
    admin
        .make(ROLES, role("r", &[rule(&["get"], &[""], &["nodes"])]))
        .await;
    let own = world.user(&user("limited"));
    for (way, outcome) in ways(&own, json!([secrets()])).await {
        assert_eq!(
            refusal(outcome),
            refused("roles", "r", "limited", SECRETS),
            "{way}"
        );
    }
    // Whoever writes a role vouches for all of it; only letting it go is free.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let nodes = "{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}";
    let outcome = own.patch(ROLES, "default/r", labels).await;
    assert_eq!(refusal(outcome), refused("roles", "r", "limited", nodes));
    let held = json!({"metadata": {"finalizers": ["example.com/a"]}});
    own.patch(ROLES, "default/r", held)
        .await
        .expect("nothing is granted");
    for (way, outcome) in ways(&own, json!([rule(&["list"], &[""], &["pods"])])).await {
        assert!(outcome.is_ok(), "{way}: {outcome:?}");
    }
    let escalator = world.user(&user("escalator"));
    for (way, outcome) in ways(&escalator, json!([secrets()])).await {
        assert!(outcome.is_ok(), "{way}: {outcome:?}");
    }
    let other = escalator.create(ROLES, role("s", &[secrets()])).await;
    assert_eq!(refusal(other), refused("roles", "s", "escalator", SECRETS));
    // Applying creates what is not there, and is checked as well.
    let applied = own.apply(ROLES, role("new", &[secrets()])).await;
    assert_eq!(
        refusal(applied),
        refused("roles", "new", "limited", SECRETS)
    );
}

fn bound(name: &str, to: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": to},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "somebody"}],
    })
}

#[tokio::test]
async fn a_binding_gives_at_most_what_its_writer_has() {
    let world = start().await;
    let own = world.user(&user("limited"));
    let get_secrets = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
    own.make(BINDINGS, bound("weak", "weak")).await;
    let outcome = own.create(BINDINGS, bound("b", "strong")).await;
    assert_eq!(
        refusal(outcome),
        refused("rolebindings", "b", "limited", get_secrets)
    );
    let mut cluster = bound("b", "strong");
    cluster["metadata"] = json!({"name": "b"});
    let outcome = own.create(CLUSTER_BINDINGS, cluster.clone()).await;
    assert_eq!(
        refusal(outcome),
        refused("clusterrolebindings", "b", "limited", get_secrets)
    );
    let outcome = own.create(BINDINGS, bound("b", "none")).await;
    let status = outcome.expect_err("there is no such role");
    assert!(status.is_not_found(), "{status}");
    let binder = world.user(&user("binder"));
    binder.make(BINDINGS, bound("b", "strong")).await;
    binder.make(CLUSTER_BINDINGS, cluster).await;
    // More subjects are more grants.
    let others = json!({"subjects": [{"apiGroup": GROUP, "kind": "Group", "name": "all"}]});
    let outcome = own.patch(BINDINGS, "default/b", others).await;
    assert_eq!(
        refusal(outcome),
        refused("rolebindings", "b", "limited", get_secrets)
    );
    let held = json!({"metadata": {"finalizers": ["example.com/a"]}});
    own.patch(BINDINGS, "default/b", held)
        .await
        .expect("nothing is granted");
}

#[tokio::test]
async fn over_http_the_same_is_refused() {
    let world = start().await;
    let mut request = Request::builder()
        .method("POST")
        .uri("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles")
        .header("content-type", "application/json")
        .body(Body::from(role("r", &[secrets()]).to_string()))
        .expect("a request");
    let identity = user("limited").with_authenticated_group();
    request.extensions_mut().insert(InProcessIdentity(identity));
    let response = world
        .server
        .router()
        .oneshot(request)
        .await
        .expect("answers");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let status: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(status["message"], refused("roles", "r", "limited", SECRETS));
    assert_eq!(status["details"]["group"], GROUP);
}

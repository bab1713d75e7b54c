use super::*;
use crate::policy::bootstrap_policy;
use kontiki_client::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use kontiki_object::Object;
use serde_json::json;

fn policy(more: &[Object]) -> Policy {
    let bootstrap = bootstrap_policy();
    let of = |resource, kind| {
        let base = bootstrap
            .iter()
            .filter(move |o| o.resource == resource)
            .map(|o| &o.object);
        base.chain(more.iter().filter(move |o| o.kind() == kind))
    };
    Policy::build(
        of(CLUSTER_ROLES, "ClusterRole"),
        of(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding"),
        of(ROLES, "Role"),
        of(ROLE_BINDINGS, "RoleBinding"),
    )
}

fn object(tree: serde_json::Value) -> Object {
    Object::from_value(tree).expect("a map")
}

fn binding(kind: &str, namespace: &str, role: (&str, &str), subject: serde_json::Value) -> Object {
    object(json!({
        "kind": kind, "metadata": {"name": "b", "namespace": namespace},
        "roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject],
    }))
}

fn ask(
    user: UserInfo,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: Arc::new(user),
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

fn path(user: UserInfo, verb: &str, path: &str) -> Attributes {
    Attributes {
        user: Arc::new(user),
        verb: verb.into(),
        path: path.into(),
        ..Attributes::default()
    }
}

#[tokio::test]
async fn the_bootstrap_policy_gives_each_its_own() {
    let rbac = Rbac::new(policy(&[]));
    let scheduler = || UserInfo::new("system:kube-scheduler", &[]);
    let gc = || UserInfo::service_account("kube-system", "generic-garbage-collector", "");
    let cases = [
        (
            ask(scheduler(), "create", "", "pods/binding", "ns", "p"),
            true,
        ),
        (ask(scheduler(), "create", "", "pods", "ns", "p"), false),
        (
            ask(
                scheduler(),
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-system",
                "kube-scheduler",
            ),
            true,
        ),
        (
            ask(
                scheduler(),
                "update",
                "coordination.k8s.io",
                "leases",
                "default",
                "other",
            ),
            false,
        ),
        (
            ask(gc(), "delete", "example.org", "things", "ns", "t"),
            true,
        ),
        (ask(gc(), "create", "", "pods", "ns", ""), false),
        (path(UserInfo::anonymous(), "get", "/healthz"), true),
        (path(UserInfo::anonymous(), "get", "/version/"), true),
        (path(UserInfo::anonymous(), "get", "/metrics"), false),
        (path(UserInfo::anonymous(), "get", "/api"), false),
        (
            path(
                UserInfo::new("u", &["system:authenticated"]),
                "get",
                "/apis/apps/v1",
            ),
            true,
        ),
        (
            path(
                UserInfo::new("u", &["system:authenticated"]),
                "post",
                "/apis/apps/v1",
            ),
            false,
        ),
        (
            ask(
                UserInfo::new("u", &["system:authenticated"]),
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews",
                "",
                "",
            ),
            true,
        ),
        (
            ask(
                UserInfo::new("u", &["system:authenticated"]),
                "list",
                "",
                "pods",
                "ns",
                "",
            ),
            false,
        ),
    ];
    for (attributes, expected) in cases {
        let decision = rbac.authorize(&attributes).await;
        assert_eq!(
            decision.is_allowed(),
            expected,
            "{attributes:?}: {decision:?}"
        );
    }
}

#[tokio::test]
async fn a_role_binding_reaches_its_own_namespace_only() {
    let jane = json!({"kind": "User", "name": "jane"});
    let role = object(json!({
        "kind": "Role", "metadata": {"name": "r", "namespace": "ns"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"]},
                  {"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]}],
    }));
    let rbac = Rbac::new(policy(&[
        role,
        binding("RoleBinding", "ns", ("Role", "r"), jane),
    ]));
    let jane = || UserInfo::new("jane", &[]);
    let decision = rbac
        .authorize(&ask(jane(), "get", "", "configmaps", "ns", "one"))
        .await;
    assert_eq!(
        decision.reason(),
        "RBAC: allowed by RoleBinding \"b/ns\" of Role \"r\" to User \"jane\""
    );
    for (attributes, expected) in [
        (ask(jane(), "get", "", "configmaps", "ns", "two"), false),
        (ask(jane(), "get", "", "configmaps", "ns", ""), false),
        (ask(jane(), "get", "", "configmaps", "other", "one"), false),
        (ask(jane(), "get", "", "configmaps", "", "one"), false),
        (
            ask(jane(), "update", "apps", "deployments/scale", "ns", "d"),
            true,
        ),
        (
            ask(jane(), "update", "apps", "deployments", "ns", "d"),
            false,
        ),
        (
            ask(jane(), "update", "apps", "deployments/status", "ns", "d"),
            false,
        ),
    ] {
        assert_eq!(
            rbac.authorize(&attributes).await.is_allowed(),
            expected,
            "{attributes:?}"
        );
    }
}

#[tokio::test]
async fn a_binding_to_a_missing_role_is_named_in_the_refusal() {
    let jane = json!({"kind": "User", "name": "jane"});
    let rbac = Rbac::new(policy(&[binding(
        "ClusterRoleBinding",
        "",
        ("ClusterRole", "gone"),
        jane,
    )]));
    let decision = rbac
        .authorize(&ask(
            UserInfo::new("jane", &[]),
            "get",
            "",
            "pods",
            "ns",
            "p",
        ))
        .await;
    assert_eq!(
        decision.reason(),
        "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
}

#[tokio::test]
async fn nobody_gives_away_what_they_do_not_have() {
    let role = |verbs: &[&str]| {
        object(json!({
            "kind": "Role", "metadata": {"name": "r", "namespace": "ns"},
            "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods", "secrets"]}],
        }))
    };
    let own = object(json!({
        "kind": "Role", "metadata": {"name": "own", "namespace": "ns"},
        "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["*"]}],
    }));
    let jane_subject = json!({"kind": "User", "name": "jane"});
    let held = binding("RoleBinding", "ns", ("Role", "own"), jane_subject.clone());
    let rbac = Rbac::new(policy(&[own, held]));
    let policy = rbac.policy();
    let jane = Arc::new(UserInfo::new("jane", &["dev", "ops"]));
    let rbac: &dyn Authorizer = &*rbac;
    check_role(&policy, rbac, &jane, "", &role(&["get"]), None)
        .await
        .expect("she has that");
    let refused = check_role(
        &policy,
        rbac,
        &jane,
        "",
        &role(&["get", "delete", "patch"]),
        None,
    )
    .await
    .expect_err("she has not");
    assert_eq!(
        refused.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"dev\" \"ops\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"patch\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"delete\" \"patch\"]}"
    );
    let admin = binding(
        "RoleBinding",
        "ns",
        ("ClusterRole", "cluster-admin"),
        jane_subject.clone(),
    );
    assert_eq!(
        check_binding(&policy, rbac, &jane, &admin)
            .await
            .map_err(|s| s.code),
        Err(403)
    );
    let own = binding("RoleBinding", "ns", ("Role", "own"), jane_subject);
    check_binding(&policy, rbac, &jane, &own)
        .await
        .expect("she has that");
}

#[test]
fn coverage_agrees_with_asking_for_every_single_thing() {
    // The oracle asks the rules about each concrete request of a small world.
    let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let rules: Vec<Rule> = [
        ("get", "a", "x", ""),
        ("get,list", "a,b", "x", ""),
        ("*", "a", "x,y", ""),
        ("get", "*", "*", ""),
        ("get", "a", "x", "n"),
        ("get", "a", "x", "n,m"),
        ("*", "*", "*", ""),
    ]
    .iter()
    .map(|(verbs, groups, resources, names)| Rule {
        verbs: words(verbs),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: if names.is_empty() {
            Vec::new()
        } else {
            words(names)
        },
        ..Rule::default()
    })
    .collect();
    let mut world = Vec::new();
    for verb in ["get", "list", "other"] {
        for group in ["a", "b", "other"] {
            for resource in ["x", "y", "other"] {
                for name in ["n", "m", "other"] {
                    world.push(ask(UserInfo::default(), verb, group, resource, "", name));
                }
            }
        }
    }
    for own in &rules {
        for wanted in &rules {
            let expected = world
                .iter()
                .all(|asked| !wanted.allows(asked) || own.allows(asked));
            let covered = covers(std::slice::from_ref(own), std::slice::from_ref(wanted)).is_ok();
            assert_eq!(covered, expected, "{own} over {wanted}");
        }
    }
}

#[tokio::test]
async fn decisions_follow_the_caches() {
    let cache = || Arc::new(kontiki_client::ObjectCache::new(Vec::new()));
    let caches = PolicyCaches {
        cluster_roles: cache(),
        cluster_role_bindings: cache(),
        roles: cache(),
        role_bindings: cache(),
    };
    let rbac = Arc::new(Rbac::default());
    let cancel = CancellationToken::new();
    let following = tokio::spawn(rbac.clone().follow(caches.clone(), cancel.clone()));
    let asked = ask(UserInfo::new("jane", &[]), "get", "", "pods", "ns", "p");
    let reaches = async |expected: bool| {
        while rbac.authorize(&asked).await.is_allowed() != expected {
            tokio::task::yield_now().await;
        }
    };
    reaches(false).await;
    let jane = json!({"kind": "User", "name": "jane"});
    caches.cluster_roles.upsert(Arc::new(object(json!({
        "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
    }))));
    let bound = binding("RoleBinding", "ns", ("ClusterRole", "r"), jane);
    caches.role_bindings.upsert(Arc::new(bound));
    reaches(true).await;
    caches.role_bindings.remove("ns/b");
    reaches(false).await;
    cancel.cancel();
    following.await.expect("it ends");
}

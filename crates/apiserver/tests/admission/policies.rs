//! Policies in CEL, in force on every server.

use crate::world::{As, World};
use kontiki_object::Status;
use serde_json::{Map, Value, json};

const GROUP: &str = "admissionregistration.k8s.io/v1";
const MAPS: &str = "v1/configmaps";

/// Rules that mean all writes of ConfigMaps.
fn maps() -> Value {
    json!({"resourceRules": [{
        "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
    }]})
}

fn with(base: Value, more: Value) -> Value {
    let mut all: Map<String, Value> = base.as_object().expect("a map").clone();
    all.extend(more.as_object().expect("a map").clone());
    all.into()
}

/// Makes a policy of `kind` and a binding, and waits until they are known.
async fn bind(admin: &As, kind: &str, name: &str, policy: Value, binding: Value) {
    let base = json!({"matchConstraints": maps()});
    let (policies, bindings) = (
        format!("{GROUP}/{kind}admissionpolicies"),
        format!("{GROUP}/{kind}admissionpolicybindings"),
    );
    let policy = json!({"metadata": {"name": name}, "spec": with(base, policy)});
    admin.make(&policies, policy).await;
    let binding = with(json!({"policyName": name}), binding);
    let binding = json!({"metadata": {"name": name}, "spec": binding});
    admin.make(&bindings, binding).await;
    // A read waits until everything that was acknowledged is known.
    admin.get(&bindings, name).await;
}

async fn validating(admin: &As, name: &str, policy: Value) {
    let binding = json!({"validationActions": ["Deny"]});
    bind(admin, "validating", name, policy, binding).await;
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": data})
}

fn refused<T>(outcome: Result<T, Status>) -> (u16, String, String) {
    match outcome {
        Ok(_) => panic!("it was let through"),
        Err(status) => (status.code, status.reason, status.message),
    }
}

fn denied(policy: &str, name: &str, why: &str) -> String {
    format!(
        "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}"
    )
}

#[tokio::test]
async fn what_does_not_hold_is_refused_in_the_words_of_the_policy() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({
        "variables": [{"name": "size", "expression": "has(object.data) ? size(object.data) : 0"}],
        "matchConditions": [{"name": "m", "expression": "request.operation != 'DELETE'"}],
        "validations": [
            {"expression": "object.metadata.name != 'bad'"},
            {
                "expression": "variables.size < 2", "reason": "Forbidden",
                "messageExpression": "string(variables.size) + ' in ' + namespaceObject.metadata.name + ' by ' + request.userInfo.username",
            },
            {"expression": "object.data.a != 'x'", "message": "no x", "reason": "RequestEntityTooLarge"},
        ],
    });
    validating(&admin, "p", policy).await;
    let make = |name: &str, data: Value| admin.create(MAPS, config_map(name, data));
    for (name, data, code, reason, why) in [
        (
            "bad",
            json!({"a": "1"}),
            422,
            "Invalid",
            "failed expression: object.metadata.name != 'bad'",
        ),
        (
            "big",
            json!({"a": "1", "b": "2"}),
            403,
            "Forbidden",
            "2 in default by admin",
        ),
        ("c", json!({"a": "x"}), 413, "RequestEntityTooLarge", "no x"),
        (
            "d",
            json!({}),
            422,
            "Invalid",
            "expression 'object.data.a != 'x'' resulted in error: no such key: data",
        ),
    ] {
        let wanted = (code, reason.to_owned(), denied("p", name, why));
        assert_eq!(refused(make(name, data).await), wanted);
    }
    make("good", json!({"a": "1"})).await.expect("holds");
    admin
        .delete(MAPS, "default/good")
        .await
        .expect("is not meant");
    // Another server of the cluster keeps the same policy.
    let other = world.another();
    other.admin().get("v1/namespaces", "default").await;
    let outcome = other
        .admin()
        .create(MAPS, config_map("bad", json!({"a": "1"})))
        .await;
    assert_eq!(refused(outcome).0, 422);
}

#[tokio::test]
async fn a_policy_is_lifted_when_it_or_its_binding_goes() {
    let world = World::start().await;
    let admin = world.admin();
    validating(
        &admin,
        "p",
        json!({"validations": [{"expression": "false"}]}),
    )
    .await;
    refused(admin.create(MAPS, config_map("a", json!({}))).await);
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    admin.delete(&bindings, "p").await.expect("goes");
    admin.get("v1/namespaces", "default").await;
    admin.make(MAPS, config_map("a", json!({}))).await;
}

#[tokio::test]
async fn parameters_are_objects_of_any_kind() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "m", "expression": "!object.metadata.name.startsWith('param')"}],
        "validations": [{"expression": "size(object.data) <= int(params.data.max)", "messageExpression": "'at most ' + params.data.max"}],
    });
    let reference = |selection: Value| json!({"validationActions": ["Deny"], "paramRef": with(json!({"parameterNotFoundAction": "Deny"}), selection)});
    let by_name = reference(json!({"name": "param", "namespace": "default"}));
    bind(&admin, "validating", "named", policy.clone(), by_name).await;
    let two = json!({"a": "1", "b": "2"});
    let missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    let outcome = admin.create(MAPS, config_map("x", two.clone())).await;
    assert_eq!(refused(outcome).2, denied("named", "x", missing));
    // A parameter that has just been made is found, and one that has changed is read anew.
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    let allow = json!({"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}});
    admin
        .patch(&bindings, "named", allow)
        .await
        .expect("changes");
    admin.get(&bindings, "named").await;
    admin
        .make(MAPS, config_map("param", json!({"max": "1"})))
        .await;
    let outcome = admin.create(MAPS, config_map("x", two.clone())).await;
    assert_eq!(refused(outcome).2, denied("named", "x", "at most 1"));
    admin
        .patch(MAPS, "default/param", json!({"data": {"max": "2"}}))
        .await
        .expect("changes");
    admin.get(MAPS, "default/param").await;
    admin.make(MAPS, config_map("x", two.clone())).await;
    // All that a selector finds must agree.
    let mut strict = config_map("param-strict", json!({"max": "0"}));
    strict["metadata"]["labels"] = json!({"limits": "yes"});
    admin.make(MAPS, strict).await;
    let by_label = reference(json!({"selector": {"matchLabels": {"limits": "yes"}}}));
    bind(&admin, "validating", "selected", policy, by_label).await;
    let outcome = admin.create(MAPS, config_map("y", two)).await;
    assert_eq!(refused(outcome).2, denied("selected", "y", "at most 0"));
}

#[tokio::test]
async fn a_binding_may_only_warn() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({
        "validations": [{"expression": "object.metadata.name != 'odd'", "message": "careful"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'name ' + object.metadata.name"}],
    });
    let actions = json!({"validationActions": ["Warn", "Audit"]});
    bind(&admin, "validating", "p", policy, actions).await;
    admin.make(MAPS, config_map("odd", json!({}))).await;
}

#[tokio::test]
async fn a_policy_that_fails_may_be_ignored() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({
        "failurePolicy": "Ignore",
        "validations": [{"expression": "object.data.nothing == 'x'"}],
    });
    validating(&admin, "p", policy).await;
    admin.make(MAPS, config_map("a", json!({"b": "1"}))).await;
}

#[tokio::test]
async fn expressions_see_what_was_and_ask_what_the_requester_may() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({"validations": [
        {"expression": "request.operation != 'UPDATE' || object.data.a == oldObject.data.a", "message": "a stays"},
        {"expression": "request.operation != 'DELETE' || (object == null && oldObject.metadata.name != 'kept')", "message": "kept"},
        {"expression": "request.operation != 'CREATE' || oldObject == null", "message": "was not there"},
        {"expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()", "message": "may read secrets"},
        {"expression": "authorizer.requestResource.check('delete').allowed()", "message": "may delete"},
        {"expression": "!authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('list').allowed()"},
    ]});
    validating(&admin, "p", policy).await;
    admin
        .make(MAPS, config_map("kept", json!({"a": "1"})))
        .await;
    let outcome = admin
        .patch(MAPS, "default/kept", json!({"data": {"a": "2"}}))
        .await;
    assert_eq!(refused(outcome).2, denied("p", "kept", "a stays"));
    let outcome = admin.delete(MAPS, "default/kept").await;
    assert_eq!(refused(outcome).2, denied("p", "kept", "kept"));
    world.grant(&[(
        "poor",
        json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]),
    )]);
    let poor = world.user(&kontiki_auth::UserInfo::new("poor", &[]));
    let outcome = poor.create(MAPS, config_map("x", json!({"a": "1"}))).await;
    assert_eq!(refused(outcome).2, denied("p", "x", "may read secrets"));
}

#[tokio::test]
async fn rules_mean_equivalent_versions_unless_they_say_exact() {
    let world = World::start().await;
    let admin = world.admin();
    let rules = |policy: &str| {
        json!({"matchPolicy": policy, "resourceRules": [{
            "operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"],
            "resources": ["horizontalpodautoscalers"],
        }]})
    };
    let scaler = |name: &str| {
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
        })
    };
    let v1 = "autoscaling/v1/horizontalpodautoscalers";
    let sees_v2 = json!({"validations": [{
        "expression": "object.spec.metrics[0].type != 'Resource' || request.kind.version != 'v2' || request.requestKind.version != 'v1'",
        "message": "seen as v2",
    }]});
    let exact = with(sees_v2.clone(), json!({"matchConstraints": rules("Exact")}));
    validating(&admin, "exact", exact).await;
    admin.make(v1, scaler("a")).await;
    let equivalent = with(sees_v2, json!({"matchConstraints": rules("Equivalent")}));
    validating(&admin, "equivalent", equivalent).await;
    let (code, _, message) = refused(admin.create(v1, scaler("b")).await);
    assert_eq!(code, 422);
    assert!(message.ends_with("denied request: seen as v2"), "{message}");
}

async fn mutating(admin: &As, name: &str, policy: Value) {
    let policy = with(json!({"reinvocationPolicy": "Never"}), policy);
    bind(admin, "mutating", name, policy, json!({})).await;
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

#[tokio::test]
async fn policies_change_objects_by_configurations_and_patches() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({
        "variables": [{"name": "who", "expression": "request.operation + '-' + object.metadata.name"}],
        "mutations": [
            apply("Object{metadata: Object.metadata{labels: {'who': variables.who}}, data: {'b': 'new'}}"),
            patch("[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('c'), value: object.data.b + '!'}]"),
        ],
    });
    mutating(&admin, "p", policy).await;
    let made = admin
        .make(MAPS, config_map("m", json!({"a": "1", "b": "2"})))
        .await;
    assert_eq!(made.label("who"), Some("CREATE-m"));
    let data = made.get(&["data"]).cloned();
    assert_eq!(data, Some(json!({"a": "1", "b": "new", "c": "new!"})));
    // A patch whose test fails does nothing; the other mutation stays.
    let made = admin
        .make(MAPS, config_map("n", json!({"a": "other"})))
        .await;
    assert_eq!(
        made.get(&["data"]),
        Some(&json!({"a": "other", "b": "new"}))
    );
}

#[tokio::test]
async fn a_mutation_that_fails_refuses_with_every_complaint() {
    let world = World::start().await;
    let admin = world.admin();
    let policy = json!({"mutations": [
        patch("[JSONPatch{op: 'test', path: '/data/a', value: 'x'}]"),
        apply("Object{data: {'a': object.nothing}}"),
    ]});
    mutating(&admin, "p", policy).await;
    let nothing = json!({"metadata": {"name": "bad", "namespace": "default"}});
    let status = admin.create(MAPS, nothing).await.expect_err("fails");
    let head = "policy 'p' with binding 'p' denied request: ";
    let first = format!(
        "{head}JSON Patch: test operation does not apply: is missing path: /data/a: missing value"
    );
    assert_eq!(
        (status.code, &*status.reason, &status.message),
        (403, "Invalid", &first)
    );
    let causes = status.details.expect("details").causes;
    let second = format!(
        "{head}expression 'Object{{data: {{'a': object.nothing}}}}' resulted in error: no such key: nothing"
    );
    let told: Vec<&String> = causes.iter().map(|cause| &cause.message).collect();
    assert_eq!(told, [&first, &second]);
}

#[tokio::test]
async fn lists_that_are_replaced_as_a_whole_are_not_applied() {
    let world = World::start().await;
    let admin = world.admin();
    let rules = json!({"resourceRules": [{
        "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
    }]});
    let policy = json!({"matchConstraints": rules, "mutations": [
        apply("Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', command: ['sh']}]}}"),
    ]});
    mutating(&admin, "p", policy).await;
    let pod = json!({
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false},
    });
    let account = json!({"metadata": {"name": "default", "namespace": "default"}});
    admin.make("v1/serviceaccounts", account).await;
    admin.get("v1/serviceaccounts", "default/default").await;
    let (_, _, message) = refused(admin.create("v1/pods", pod).await);
    let wanted = "policy 'p' with binding 'p' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].command";
    assert_eq!(message, wanted);
}

#[tokio::test]
async fn a_policy_is_asked_again_about_what_a_later_one_changed() {
    let world = World::start().await;
    let admin = world.admin();
    let count =
        "[JSONPatch{op: 'add', path: '/data/asked', value: string(int(object.data.asked) + 1)}]";
    for (name, again) in [("a-again", "IfNeeded"), ("a-once", "Never")] {
        let policy = json!({"reinvocationPolicy": again, "mutations": [patch(count)]});
        mutating(&admin, name, policy).await;
    }
    let made = admin
        .make(MAPS, config_map("m", json!({"asked": "0"})))
        .await;
    // Once each, and the first once more because of the second.
    assert_eq!(made.str_at(&["data", "asked"]), Some("3"));
}

#[tokio::test]
async fn what_configures_admission_is_not_meant_itself() {
    let world = World::start().await;
    let admin = world.admin();
    let all = json!({"resourceRules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
    }]});
    let policy = json!({"matchConstraints": all, "validations": [{"expression": "false"}]});
    validating(&admin, "closed", policy).await;
    refused(admin.create(MAPS, config_map("a", json!({}))).await);
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    admin
        .delete(&policies, "closed")
        .await
        .expect("the way out");
    admin.get("v1/namespaces", "default").await;
    admin.make(MAPS, config_map("a", json!({}))).await;
}

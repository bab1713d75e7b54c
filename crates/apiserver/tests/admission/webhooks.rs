//! Webhooks that really are called, over TLS.

use crate::hook_server::{HookServer, patch};
use crate::world::{As, World};
use async_trait::async_trait;
use kontiki_apiserver::{AsyncReadWrite, DialTarget, NodeDialer};
use kontiki_client::{ApiRequest, Verb, WriteOptions};
use kontiki_object::Status;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;

const GROUP: &str = "admissionregistration.k8s.io/v1";
const MAPS: &str = "v1/configmaps";

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": data})
}

fn webhook(name: &str, client: Value, more: Value) -> Value {
    let mut hook: Map<String, Value> = json!({
        "name": name, "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["configmaps"]}],
    })
    .as_object()
    .expect("a map")
    .clone();
    hook.extend(more.as_object().expect("a map").clone());
    hook.into()
}

/// Makes a configuration and waits until it is known.
async fn configure(admin: &As, kind: &str, name: &str, webhooks: Vec<Value>) {
    let path = format!("{GROUP}/{kind}webhookconfigurations");
    let object = json!({"metadata": {"name": name}, "webhooks": webhooks});
    admin.make(&path, object).await;
    admin.get(&path, name).await;
}

fn refused<T>(outcome: Result<T, Status>) -> (u16, String) {
    match outcome {
        Ok(_) => panic!("it was let through"),
        Err(status) => (status.code, status.message),
    }
}

#[tokio::test]
async fn a_webhook_is_asked_in_full_and_its_words_are_passed_on() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&[], |request| match request["name"].as_str() {
        Some("bad") => json!({"allowed": false, "status": {"message": "not this one", "code": 422, "reason": "Invalid"}}),
        Some("silent") => json!({"allowed": false}),
        _ => json!({"allowed": true, "warnings": ["mind the gap"]}),
    })
    .await;
    let hooks = vec![webhook("v.example.com", hook.by_url(), json!({}))];
    configure(&admin, "validating", "v", hooks).await;
    let by = "admission webhook \"v.example.com\" denied the request";
    let outcome = admin.create(MAPS, config_map("bad", json!({}))).await;
    assert_eq!(refused(outcome), (422, format!("{by}: not this one")));
    let outcome = admin.create(MAPS, config_map("silent", json!({}))).await;
    assert_eq!(refused(outcome), (400, format!("{by} without explanation")));
    admin
        .make(MAPS, config_map("good", json!({"a": "1"})))
        .await;
    let patch = json!({"data": {"a": "2"}});
    admin
        .patch(MAPS, "default/good", patch)
        .await
        .expect("passes");
    let (path, _) = hook.seen.lock()[0].clone();
    assert_eq!(path, "/hook?timeout=5s");
    let asked = hook.requests().pop().expect("was asked");
    assert_eq!(asked["operation"], "UPDATE");
    assert_eq!(
        asked["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(asked["resource"]["resource"], "configmaps");
    assert_eq!(asked["userInfo"]["username"], "admin");
    assert_eq!(asked["object"]["data"]["a"], "2");
    assert_eq!(asked["oldObject"]["data"]["a"], "1");
    assert_eq!(asked["dryRun"], false);
    assert_eq!(
        hook.connections.load(Ordering::Relaxed),
        1,
        "connections are kept"
    );
}

#[tokio::test]
async fn webhooks_change_objects_in_order_and_are_asked_again() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&[], |request| {
        let n: i64 = request["object"]["data"]["n"]
            .as_str()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        patch(&json!([{"op": "add", "path": "/data/n", "value": (n + 1).to_string()}]))
    })
    .await;
    let once = |name: &str, again: &str| {
        webhook(name, hook.by_url(), json!({"reinvocationPolicy": again}))
    };
    configure(
        &admin,
        "mutating",
        "a",
        vec![once("first.example.com", "IfNeeded")],
    )
    .await;
    configure(
        &admin,
        "mutating",
        "b",
        vec![once("second.example.com", "Never")],
    )
    .await;
    let made = admin.make(MAPS, config_map("m", json!({"n": "0"}))).await;
    assert_eq!(made.str_at(&["data", "n"]), Some("3"));
    assert_eq!(hook.requests().len(), 3);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_is_passed_over_only_if_it_says_so() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&[], |request| match request["name"].as_str() {
        Some("error") => json!(500),
        Some("uid") => json!({"allowed": true, "uid": "another"}),
        Some("patched") => patch(&json!([])),
        Some("slow") => json!("slow"),
        _ => json!({"allowed": true}),
    })
    .await;
    let closed = json!({"timeoutSeconds": 1});
    let hooks = vec![webhook("v.example.com", hook.by_url(), closed)];
    configure(&admin, "validating", "v", hooks).await;
    let url = format!("https://127.0.0.1:{}/hook?timeout=1s", hook.port);
    let head = "Internal error occurred: failed calling webhook \"v.example.com\": ";
    for (name, why) in [
        ("error", "failed to call webhook: an error on the server (\"went wrong\") has prevented the request from succeeding".to_owned()),
        ("patched", "received invalid webhook response: validating webhook may not return response.patch".to_owned()),
        ("slow", format!("failed to call webhook: Post {url:?}: context deadline exceeded")),
    ] {
        let outcome = admin.create(MAPS, config_map(name, json!({}))).await;
        assert_eq!(refused(outcome), (500, format!("{head}{why}")));
    }
    let (_, message) = refused(admin.create(MAPS, config_map("uid", json!({}))).await);
    assert!(
        message.contains("received invalid webhook response: expected response.uid="),
        "{message}"
    );
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    admin.delete(&path, "v").await.expect("goes");
    let nobody = json!({"url": "https://127.0.0.1:1/x"});
    let mut open = webhook("v.example.com", nobody, json!({"failurePolicy": "Ignore"}));
    configure(&admin, "validating", "v", vec![open.clone()]).await;
    admin.make(MAPS, config_map("a", json!({}))).await;
    admin.delete(&path, "v").await.expect("goes");
    open["failurePolicy"] = "Fail".into();
    configure(&admin, "validating", "v", vec![open]).await;
    let why = "failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=5s\": dial tcp 127.0.0.1:1: connect: connection refused";
    let outcome = admin.create(MAPS, config_map("b", json!({}))).await;
    assert_eq!(refused(outcome), (500, format!("{head}{why}")));
}

#[tokio::test]
async fn nobody_is_believed_under_another_authority_or_name() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&["other.example.com"], |_| json!({"allowed": true})).await;
    let stranger = HookServer::start(&[], |_| json!({"allowed": true})).await;
    let mut client = hook.by_url();
    client["caBundle"] = stranger.ca_bundle.clone().into();
    let hooks = vec![webhook("v.example.com", client, json!({}))];
    configure(&admin, "validating", "v", hooks).await;
    let (code, message) = refused(admin.create(MAPS, config_map("a", json!({}))).await);
    assert_eq!(code, 500);
    assert!(
        message.contains("tls: failed to verify certificate: "),
        "{message}"
    );
    assert!(hook.requests().is_empty());
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    admin.delete(&path, "v").await.expect("goes");
    let client =
        json!({"url": format!("https://localhost:{}/", hook.port), "caBundle": hook.ca_bundle});
    let hooks = vec![webhook("v.example.com", client, json!({}))];
    configure(&admin, "validating", "v", hooks).await;
    let (_, message) = refused(admin.create(MAPS, config_map("a", json!({}))).await);
    assert!(
        message.contains("tls: failed to verify certificate: "),
        "{message}"
    );
}

#[tokio::test]
async fn selectors_conditions_and_dry_runs_decide_who_is_asked() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&[], |_| json!({"allowed": false})).await;
    let hooks = vec![webhook(
        "v.example.com",
        hook.by_url(),
        json!({
            "objectSelector": {"matchLabels": {"asked": "yes"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "matchConditions": [{"name": "m", "expression": "object.metadata.name != 'spared'"}],
            "sideEffects": "NoneOnDryRun",
        }),
    )];
    configure(&admin, "validating", "v", hooks).await;
    let labelled = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace, "labels": {"asked": "yes"}}});
    admin.make(MAPS, config_map("unlabelled", json!({}))).await;
    admin.make(MAPS, labelled("elsewhere", "kube-system")).await;
    admin.make(MAPS, labelled("spared", "default")).await;
    assert!(hook.requests().is_empty());
    refused(admin.create(MAPS, labelled("asked", "default")).await);
    assert_eq!(hook.requests().len(), 1);
    let request = ApiRequest {
        verb: Verb::Create,
        resource: crate::world::resource(MAPS),
        namespace: Some("default".to_owned()),
        name: None,
        subresource: None,
        write: WriteOptions {
            dry_run: true,
            ..WriteOptions::default()
        },
        body: Some(labelled("dry", "default")),
        list: Default::default(),
        delete: Default::default(),
    };
    admin
        .0
        .api()
        .call(request)
        .await
        .map(|_| ())
        .expect_err("is asked");
    assert_eq!(hook.requests()[1]["dryRun"], true);
}

/// Connects to loopback whatever is asked for, and notes it.
#[derive(Default)]
struct Loopback {
    port: Mutex<u16>,
    dialed: Mutex<Vec<(String, DialTarget)>>,
}

#[async_trait]
impl NodeDialer for Loopback {
    async fn dial(&self, node: &str, target: DialTarget) -> io::Result<Box<dyn AsyncReadWrite>> {
        self.dialed.lock().push((node.to_owned(), target));
        let port = *self.port.lock();
        Ok(Box::new(TcpStream::connect(("127.0.0.1", port)).await?))
    }
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_reached_through_the_node_of_its_pod() {
    let dialer = Arc::new(Loopback::default());
    let world = World::start_with(dialer.clone()).await;
    let admin = world.admin();
    let hook = HookServer::start(&["hook.default.svc"], |_| {
        patch(&json!([{"op": "add", "path": "/data/asked", "value": "yes"}]))
    })
    .await;
    *dialer.port.lock() = hook.port;
    let client = json!({
        "service": {"namespace": "default", "name": "hook", "path": "/mutate"},
        "caBundle": hook.ca_bundle,
    });
    let hooks = vec![webhook("m.example.com", client, json!({}))];
    configure(&admin, "mutating", "m", hooks).await;
    let head = "Internal error occurred: failed calling webhook \"m.example.com\": failed to call webhook: Post \"https://hook.default.svc:443/mutate?timeout=5s\": ";
    let outcome = admin.create(MAPS, config_map("a", json!({"a": "1"}))).await;
    assert_eq!(
        refused(outcome),
        (500, format!("{head}service \"hook\" not found"))
    );
    let service = json!({
        "metadata": {"name": "hook", "namespace": "default"},
        "spec": {"selector": {"app": "hook"}, "ports": [
            {"name": "metrics", "port": 80, "targetPort": 8080},
            {"name": "https", "port": 443, "targetPort": 8443},
        ]},
    });
    admin.make("v1/services", service).await;
    admin.get("v1/services", "default/hook").await;
    let outcome = admin.create(MAPS, config_map("a", json!({"a": "1"}))).await;
    assert_eq!(
        refused(outcome),
        (
            500,
            format!("{head}no endpoints available for service \"hook\"")
        )
    );
    let slices = "discovery.k8s.io/v1/endpointslices";
    let slice = json!({
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 8080}, {"name": "https", "port": 8443}],
        "endpoints": [
            {"addresses": ["10.1.0.9"], "nodeName": "other", "conditions": {"ready": false}},
            {"addresses": ["10.1.0.7"], "nodeName": "n1", "conditions": {"ready": true}},
        ],
    });
    admin.make(slices, slice).await;
    admin.get(slices, "default/hook-1").await;
    for name in ["a", "b"] {
        let made = admin.make(MAPS, config_map(name, json!({"a": "1"}))).await;
        assert_eq!(made.str_at(&["data", "asked"]), Some("yes"));
    }
    let wanted = ("n1".to_owned(), DialTarget::Tcp("10.1.0.7:8443".to_owned()));
    assert_eq!(*dialer.dialed.lock(), [wanted], "one connection for both");
}

#[tokio::test]
async fn older_reviews_are_spoken_too() {
    let world = World::start().await;
    let admin = world.admin();
    let hook = HookServer::start(&[], |_| {
        let mut answer = patch(&json!([{"op": "add", "path": "/data/asked", "value": "yes"}]));
        answer.as_object_mut().expect("a map").remove("patchType");
        answer
    })
    .await;
    let old = json!({"admissionReviewVersions": ["v2", "v1beta1"]});
    let hooks = vec![webhook("m.example.com", hook.by_url(), old)];
    configure(&admin, "mutating", "m", hooks).await;
    let made = admin.make(MAPS, config_map("a", json!({"a": "1"}))).await;
    assert_eq!(made.str_at(&["data", "asked"]), Some("yes"));
}

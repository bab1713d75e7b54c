//! The API over its router, with a store in memory.

#[path = "rest/custom.rs"]
mod custom;

use axum::body::Body;
use futures::StreamExt as _;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kontiki_apiserver::cache::CacheLimits;
use kontiki_apiserver::{ApiServer, Config, NoNodes};
use kontiki_auth::authn::{Authenticated, AuthnError, PeerCertificate};
use kontiki_auth::authz::PrivilegedGroups;
use kontiki_auth::token::{TokenIssuer, TokenKeys};
use kontiki_auth::user::MASTERS;
use kontiki_auth::{Authenticator, UserInfo};
use kontiki_client::{Client, WatchEvent, WatchParams};
use kontiki_mvcc::LocalStore;
use kontiki_object::GroupVersionResource;
use kontiki_pki::PrivateKey;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Everybody is an administrator.
struct Admin;

#[async_trait::async_trait]
impl Authenticator for Admin {
    async fn authenticate(
        &self,
        _parts: &http::request::Parts,
        _peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        Ok(Some(UserInfo::new("admin", &[MASTERS]).into()))
    }
}

async fn started() -> ApiServer {
    let key = PrivateKey::generate().expect("the system has random numbers");
    let server = ApiServer::new(
        Config {
            store: LocalStore::in_memory(),
            authenticator: Arc::new(Admin),
            authorizer: Arc::new(PrivilegedGroups::default()),
            rbac: Arc::default(),
            token_issuer: Arc::new(
                TokenIssuer::new("https://issuer", key.to_pem()).expect("a key"),
            ),
            token_keys: Arc::new(TokenKeys::from_pem(&key.public_key_pem()).expect("a key")),
            api_audiences: vec!["https://issuer".to_owned()],
            dialer: Arc::new(NoNodes),
            service_cidr: "10.96.0.0/12".parse().expect("a net"),
            node_ports: 30000..=32767,
            advertise_address: "127.0.0.1:6443".parse().expect("an address"),
            client_ca_pem: String::new(),
            identity: "test".to_owned(),
            version: "0".to_owned(),
            cache: CacheLimits::default(),
            max_requests_inflight: 400,
            admission: Default::default(),
            max_mutating_requests_inflight: 200,
            request_timeout: Duration::from_secs(60),
        },
        Arc::default(),
    );
    let feed = server.clone();
    tokio::spawn(async move { feed.run(CancellationToken::new()).await });
    for name in ["default", "kube-system"] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (code, body) = call(&server, "POST", "/api/v1/namespaces", Some(namespace)).await;
        assert_eq!(code, StatusCode::CREATED, "{body}");
    }
    server
}

async fn send(server: &ApiServer, request: Request<Body>) -> (StatusCode, Value) {
    let response = server.router().oneshot(request).await.expect("answers");
    let code = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    (code, value)
}

async fn typed(
    server: &ApiServer,
    method: &str,
    path: &str,
    media_type: &str,
    body: &str,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(path)
        .header("content-type", media_type)
        .body(Body::from(body.to_owned()))
        .expect("a request");
    send(server, request).await
}

async fn call(
    server: &ApiServer,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    typed(server, method, path, "application/json", &body).await
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let server = started().await;
    let (code, made) = call(&server, "POST", MAPS, Some(map("a", json!({"k": "1"})))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert!(made["metadata"]["uid"].is_string());
    let path = format!("{MAPS}/a");
    let (code, read) = call(&server, "GET", &path, None).await;
    assert_eq!((code, &read), (StatusCode::OK, &made));
    let (code, again) = call(&server, "POST", MAPS, Some(map("a", json!({})))).await;
    assert_eq!(
        (code, &again["reason"]),
        (StatusCode::CONFLICT, &json!("AlreadyExists"))
    );
    let mut stale = made.clone();
    stale["data"]["k"] = "2".into();
    let (code, _) = call(&server, "PUT", &path, Some(stale.clone())).await;
    assert_eq!(code, StatusCode::OK);
    stale["data"]["k"] = "3".into();
    let (code, refused) = call(&server, "PUT", &path, Some(stale)).await;
    assert_eq!(
        (code, &refused["reason"]),
        (StatusCode::CONFLICT, &json!("Conflict"))
    );
    let (code, gone) = call(&server, "DELETE", &path, None).await;
    assert_eq!((code, &gone["status"]), (StatusCode::OK, &json!("Success")));
    let (code, _) = call(&server, "GET", &path, None).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_patch_format_changes_what_it_says() {
    let server = started().await;
    call(&server, "POST", MAPS, Some(map("a", json!({"k": "1"})))).await;
    let path = format!("{MAPS}/a");
    for (media_type, patch, expected) in [
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data/j","value":"1"}]"#,
            json!({"k": "1", "j": "1"}),
        ),
        (
            "application/merge-patch+json",
            r#"{"data":{"j":null,"m":"1"}}"#,
            json!({"k": "1", "m": "1"}),
        ),
        (
            "application/strategic-merge-patch+json",
            r#"{"data":{"m":null,"s":"1"}}"#,
            json!({"k": "1", "s": "1"}),
        ),
    ] {
        let (code, body) = typed(&server, "PATCH", &path, media_type, patch).await;
        assert_eq!(
            (code, &body["data"]),
            (StatusCode::OK, &expected),
            "{media_type}: {body}"
        );
    }
    let apply = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {y: '1'}\n";
    let url = format!("{path}?fieldManager=me");
    let (code, body) = typed(
        &server,
        "PATCH",
        &url,
        "application/apply-patch+yaml",
        apply,
    )
    .await;
    assert_eq!(
        (code, &body["data"]),
        (StatusCode::OK, &json!({"k": "1", "s": "1", "y": "1"}))
    );
}

#[tokio::test]
async fn pages_show_one_point_in_time_while_others_write() {
    let server = started().await;
    for at in 0..10 {
        call(
            &server,
            "POST",
            MAPS,
            Some(map(&format!("m{at}"), json!({}))),
        )
        .await;
    }
    let mut names = Vec::new();
    let mut token = String::new();
    let mut versions = Vec::new();
    loop {
        let url = format!("{MAPS}?limit=3&continue={token}");
        let (code, page) = call(&server, "GET", &url, None).await;
        assert_eq!(code, StatusCode::OK, "{page}");
        versions.push(page["metadata"]["resourceVersion"].clone());
        let items = page["items"].as_array().expect("items");
        names.extend(items.iter().map(|item| item["metadata"]["name"].clone()));
        let round = names.len();
        call(
            &server,
            "POST",
            MAPS,
            Some(map(&format!("m5-{round}"), json!({}))),
        )
        .await;
        call(&server, "DELETE", &format!("{MAPS}/m9"), None).await;
        token = page["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<Value> = (0..10).map(|at| json!(format!("m{at}"))).collect();
    assert_eq!(names, expected);
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_watch_from_any_version_tells_the_history_after_it() {
    let server = started().await;
    let mut history = Vec::new();
    for round in 0..12 {
        let name = format!("m{}", round % 3);
        let path = format!("{MAPS}/{name}");
        let (_, body) = match round % 4 {
            3 => {
                let (_, body) = call(&server, "DELETE", &path, None).await;
                history.push(("DELETED", name.clone()));
                (StatusCode::OK, body)
            }
            _ => {
                let (_, present) = call(&server, "GET", &path, None).await;
                let exists = present["kind"] == "ConfigMap";
                history.push((if exists { "MODIFIED" } else { "ADDED" }, name.clone()));
                let object = map(&name, json!({"round": round.to_string()}));
                let (method, path) = if exists {
                    ("PUT", &*path)
                } else {
                    ("POST", MAPS)
                };
                call(&server, method, path, Some(object)).await
            }
        };
        assert!(body["kind"].is_string());
    }
    let (_, list) = call(&server, "GET", MAPS, None).await;
    let last: i64 = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .parse()
        .expect("a number");
    let first = last - 12;
    let api = server.api(UserInfo::new("admin", &[MASTERS]));
    for skip in 0..12_usize {
        let params = WatchParams {
            resource: GroupVersionResource::new("", "v1", "configmaps"),
            namespace: Some("default".to_owned()),
            resource_version: (first + i64::try_from(skip).expect("small")).to_string(),
            ..WatchParams::default()
        };
        let stream = api.watch(params).await.expect("opens");
        let events: Vec<_> = stream.take(12 - skip).collect().await;
        let told: Vec<_> = events
            .into_iter()
            .map(|event| match event.expect("an event") {
                WatchEvent::Added(object) => ("ADDED", object.name().to_owned()),
                WatchEvent::Modified(object) => ("MODIFIED", object.name().to_owned()),
                WatchEvent::Deleted(object) => ("DELETED", object.name().to_owned()),
                WatchEvent::Bookmark { .. } => ("BOOKMARK", String::new()),
            })
            .collect();
        assert_eq!(told, history[skip..], "from {skip} events on");
    }
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let server = started().await;
    let mut held = map("a", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&server, "POST", MAPS, Some(held)).await;
    let path = format!("{MAPS}/a");
    let (code, body) = call(&server, "DELETE", &path, None).await;
    assert_eq!(code, StatusCode::OK);
    assert!(body["metadata"]["deletionTimestamp"].is_string(), "{body}");
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    typed(
        &server,
        "PATCH",
        &path,
        "application/merge-patch+json",
        patch,
    )
    .await;
    let (code, _) = call(&server, "GET", &path, None).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bad_input_gets_its_own_answer() {
    let server = started().await;
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(4 << 20));
    for (method, path, media_type, body, code) in [
        ("POST", MAPS, "application/json", "{", 400),
        ("POST", MAPS, "text/plain", "x", 415),
        ("POST", MAPS, "application/json", &*big, 413),
        (
            "POST",
            MAPS,
            "application/json",
            r#"{"kind":"Secret","apiVersion":"v1"}"#,
            400,
        ),
        (
            "POST",
            MAPS,
            "application/json",
            r#"{"metadata":{"name":"A_b"}}"#,
            422,
        ),
        (
            "POST",
            MAPS,
            "application/json",
            r#"{"metadata":{"name":"a"},"data":{"k":1}}"#,
            400,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?resourceVersion=x",
            "",
            "",
            400,
        ),
        ("GET", "/api/v1/nothing", "", "", 404),
        ("GET", "/nothing", "", "", 404),
        ("PATCH", MAPS, "application/json", "{}", 405),
        ("HEAD", MAPS, "", "", 405),
        (
            "POST",
            "/api/v1/namespaces/none/configmaps",
            "application/json",
            r#"{"metadata":{"name":"a"}}"#,
            404,
        ),
    ] {
        let (got, body) = typed(&server, method, path, media_type, body).await;
        assert_eq!(got.as_u16(), code, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn two_services_never_get_the_same_address_or_port() {
    let server = started().await;
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..20 {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{at}")},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        });
        let path = "/api/v1/namespaces/default/services";
        let (code, made) = call(&server, "POST", path, Some(service)).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        assert!(seen.insert(made["spec"]["clusterIP"].to_string()));
        assert!(seen.insert(made["spec"]["ports"][0]["nodePort"].to_string()));
    }
}

#[tokio::test]
async fn the_in_process_transport_tells_the_same() {
    let server = started().await;
    let client = Client::new(server.api(UserInfo::new("admin", &[MASTERS])), "test");
    let maps = client.namespaced(
        &GroupVersionResource::new("", "v1", "configmaps"),
        "default",
    );
    maps.create(map("a", json!({"k": "v"})))
        .await
        .expect("creates");
    let (_, over_http) = call(&server, "GET", &format!("{MAPS}/a"), None).await;
    let read = maps.get("a").await.expect("reads");
    assert_eq!(read.to_value(), over_http);
}

#[tokio::test]
async fn every_stored_kind_can_be_listed_as_a_table() {
    let server = started().await;
    for kind in kontiki_kinds::all()
        .iter()
        .filter(|kind| kind.storage.is_some())
    {
        let resource = GroupVersionResource {
            group: kind.group.clone(),
            version: kind.version.clone(),
            resource: kind.plural.clone(),
        };
        let request = Request::builder()
            .uri(resource.path(None, None, None))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Body::empty())
            .expect("a request");
        let (code, table) = send(&server, request).await;
        assert_eq!(
            (code, &table["kind"]),
            (StatusCode::OK, &json!("Table")),
            "{kind:?}: {table}"
        );
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn make_pod(server: &ApiServer, name: &str) -> Value {
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    call(server, "POST", accounts, Some(account)).await;
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let (code, made) = call(server, "POST", PODS, Some(pod)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    made
}

#[tokio::test]
async fn a_pod_that_nobody_runs_is_told_as_going_before_it_goes() {
    let server = started().await;
    let made = make_pod(&server, "p").await;
    let since = made["metadata"]["resourceVersion"]
        .as_str()
        .expect("a text");
    let (code, _) = call(&server, "DELETE", &format!("{PODS}/p"), None).await;
    assert_eq!(code, StatusCode::OK);
    let path = format!("{PODS}?watch=1&timeoutSeconds=1&resourceVersion={since}");
    let (_, told) = call(&server, "GET", &path, None).await;
    let lines = told.as_str().expect("several lines").lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let words: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(words, ["MODIFIED", "DELETED"]);
    for event in events {
        let metadata = &event["object"]["metadata"];
        assert_eq!(metadata["deletionGracePeriodSeconds"], 0, "{event}");
    }
}

#[tokio::test]
async fn a_body_is_about_what_the_url_names() {
    let server = started().await;
    make_pod(&server, "p").await;
    call(&server, "POST", MAPS, Some(map("c", json!({})))).await;
    let named = |kind: &str| json!({"kind": kind, "metadata": {"name": "other"}});
    let rows = [
        (
            "POST",
            format!("{PODS}/p/binding"),
            json!({"metadata": {"name": "other"}, "target": {"name": "n"}}),
            "name in URL does not match name in Binding object",
        ),
        (
            "POST",
            format!("{PODS}/p/eviction"),
            named("Eviction"),
            "name in URL does not match name in Eviction object",
        ),
        (
            "PUT",
            format!("{MAPS}/c"),
            named("ConfigMap"),
            "the name of the object (other) does not match the name on the URL (c)",
        ),
        (
            "PUT",
            format!("{MAPS}/c"),
            json!({"metadata": {}}),
            "the name of the object (c based on URL) was undeterminable: name must be provided",
        ),
    ];
    for (method, path, body, text) in rows {
        let (code, answer) = call(&server, method, &path, Some(body)).await;
        assert_eq!(
            (code, &answer["message"]),
            (StatusCode::BAD_REQUEST, &json!(text))
        );
    }
}

#[tokio::test]
async fn an_update_that_says_the_same_writes_nothing() {
    let server = started().await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "a", "labels": {"b": "c"}},
        "addressType": "IPv4", "ports": null, "endpoints": [],
    });
    let (code, created) = call(&server, "POST", slices, Some(slice)).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    let one = format!("{slices}/a");
    // Empty lists are not stored: whoever says them again says nothing new, once
    // the fields are its own.
    let mut wish = created.clone();
    wish["endpoints"] = json!([]);
    wish["ports"] = json!([]);
    wish["metadata"]["annotations"] = json!({});
    wish["metadata"]
        .as_object_mut()
        .expect("a map")
        .remove("resourceVersion");
    let (code, owned) = call(&server, "PUT", &one, Some(wish.clone())).await;
    assert_eq!(code, StatusCode::OK, "{owned}");
    let version = &owned["metadata"]["resourceVersion"];
    for wish in [owned.clone(), wish] {
        let (code, updated) = call(&server, "PUT", &one, Some(wish)).await;
        assert_eq!(code, StatusCode::OK, "{updated}");
        assert_eq!(&updated["metadata"]["resourceVersion"], version);
    }
    let mut other = owned.clone();
    other["metadata"]["labels"]["b"] = json!("d");
    let (_, updated) = call(&server, "PUT", &one, Some(other)).await;
    assert_ne!(&updated["metadata"]["resourceVersion"], version);
}

#[tokio::test]
async fn equal_owners_are_kept_once_and_warned_about() {
    let server = started().await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"});
    let mut object = map("a", json!({}));
    object["metadata"]["ownerReferences"] = json!([owner, owner]);
    let request = Request::builder()
        .method(Method::POST)
        .uri(MAPS)
        .body(Body::from(object.to_string()))
        .expect("a request");
    let response = server.router().oneshot(request).await.expect("answers");
    let warning = response.headers().get("warning").expect("is warned");
    let warning = warning.to_str().expect("a text");
    assert!(
        warning.contains("duplicate UID(s) observed: u"),
        "{warning}"
    );
    let (_, read) = call(&server, "GET", &format!("{MAPS}/a"), None).await;
    assert_eq!(read["metadata"]["ownerReferences"], json!([owner]));
}

#[tokio::test]
async fn what_protobuf_has_no_place_for_is_stored_all_the_same() {
    let server = started().await;
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let set = json!({
        "metadata": {"name": "s"},
        "spec": {
            "serviceName": "s",
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
            "volumeClaimTemplates": [{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "v"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }],
        },
    });
    let (code, made) = call(&server, "POST", sets, Some(set)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let (_, read) = call(&server, "GET", &format!("{sets}/s"), None).await;
    let template = &read["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["kind"], "PersistentVolumeClaim", "{template}");
    assert_eq!(read, made);
}

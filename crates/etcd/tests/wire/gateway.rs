//! The JSON of `/v3/`.

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use kontiki_etcd::Options;
use kontiki_mvcc::LocalStore;
use serde_json::{Value, json};
use tower::ServiceExt;

fn router() -> Router {
    kontiki_etcd::router(LocalStore::in_memory(), Options::default())
}

async fn send(router: &Router, request: Request<Body>) -> Response {
    let Ok(response) = router.clone().oneshot(request).await;
    response
}

async fn post(router: &Router, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::post(path).body(Body::from(body.to_string()));
    let response = send(router, request.expect("a request")).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let json = serde_json::from_slice(&bytes.expect("a body")).expect("JSON");
    (status, json)
}

/// Posts what has to succeed; without the header, whose ids are the store's own.
async fn done(router: &Router, path: &str, body: Value) -> Value {
    let (status, mut answer) = post(router, path, body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    let header = answer.as_object_mut().and_then(|all| all.remove("header"));
    assert!(header.is_some(), "{path}: {answer} has no header");
    answer
}

#[tokio::test]
async fn calls_are_answered_in_etcds_json() {
    let router = router();
    let kv = json!({"key": "Zm9v", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "YmFy"});
    for (path, body, expected) in [
        (
            "/v3/kv/put",
            json!({"key": "Zm9v", "value": "YmFy"}),
            json!({}),
        ),
        (
            "/v3/kv/range",
            json!({"key": "Zm9v"}),
            json!({"kvs": [kv], "count": "1"}),
        ),
        ("/v3/kv/range", json!({"key": "eA=="}), json!({})),
        (
            "/v3/kv/txn",
            json!({
                "compare": [{"target": "CREATE", "key": "Zm9v", "createRevision": "2"}],
                "success": [{"requestPut": {"key": "Zm9v", "value": "YmF6"}}, {"request_range": {"key": "Zm9v", "count_only": true}}],
            }),
            json!({
                "succeeded": true,
                "responses": [
                    {"response_put": {"header": {"revision": "3"}}},
                    {"response_range": {"header": {"revision": "3"}, "count": "1"}},
                ],
            }),
        ),
        (
            "/v3/lease/grant",
            json!({"ID": "77", "TTL": 100}),
            json!({"ID": "77", "TTL": "100"}),
        ),
        (
            "/v3/kv/lease/leases",
            json!({}),
            json!({"leases": [{"ID": "77"}]}),
        ),
        ("/v3/kv/lease/revoke", json!({"ID": 77}), json!({})),
        (
            "/v3/kv/compaction",
            json!({"revision": "2", "physical": true}),
            json!({}),
        ),
        (
            "/v3/kv/deleterange",
            json!({"key": "Zm9v"}),
            json!({"deleted": "1"}),
        ),
        ("/v3/auth/status", json!({}), json!({"authRevision": "1"})),
        ("/v3/maintenance/alarm", json!({"action": "GET"}), json!({})),
    ] {
        assert_eq!(done(&router, path, body).await, expected, "{path}");
    }
    let listed = done(&router, "/v3/cluster/member/list", json!({})).await;
    assert_eq!(listed["members"][0]["name"], "local");
}

#[tokio::test]
async fn refusals_have_etcds_text_and_the_gateways_code() {
    let router = router();
    for (path, body, status, code, text) in [
        (
            "/v3/kv/put",
            json!({}),
            400,
            3,
            "etcdserver: key is not provided",
        ),
        (
            "/v3/kv/range",
            json!({"key": "YQ==", "revision": "9"}),
            400,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            "/v3/lease/revoke",
            json!({"ID": 1}),
            404,
            5,
            "etcdserver: requested lease not found",
        ),
        (
            "/v3/auth/enable",
            json!({}),
            400,
            9,
            "etcdserver: root user does not exist",
        ),
        ("/v3/maintenance/downgrade", json!({}), 501, 12, ""),
        ("/v3/nothing", json!({}), 404, 5, "Not Found"),
        ("/v3/kv/put", json!({"key": 7}), 400, 3, ""),
        ("/v3/kv/put", json!([]), 400, 3, ""),
    ] {
        let (answered, told) = post(&router, path, body).await;
        assert_eq!(answered.as_u16(), status, "{path}: {told}");
        assert_eq!(told["code"], code, "{path}: {told}");
        let message = told["message"].as_str().expect("a message");
        assert!(text.is_empty() || message == text, "{path}: {message}");
        assert_eq!(told["details"], json!([]));
    }
    let get = Request::get("/v3/kv/put").body(Body::empty());
    let refused = send(&router, get.expect("a request")).await;
    assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED);
    let long = Body::from(vec![b' '; 5 << 20]);
    let long = Request::post("/v3/kv/put").body(long).expect("a request");
    assert_eq!(
        send(&router, long).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
}

/// The lines of a stream, one after the other.
struct Lines {
    body: BodyDataStream,
    buffered: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffered.drain(..=end).collect();
                return serde_json::from_slice(&line).expect("JSON");
            }
            let part = self.body.next().await.expect("the stream goes on");
            self.buffered.extend_from_slice(&part.expect("a part"));
        }
    }
}

async fn stream(router: &Router, path: &str, documents: &[Value]) -> Lines {
    let text: String = documents.iter().map(Value::to_string).collect();
    let request = Request::post(path).body(Body::from(text));
    let response = send(router, request.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::OK);
    Lines {
        body: response.into_body().into_data_stream(),
        buffered: Vec::new(),
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_its_client_has_asked_for_all_it_wants() {
    let router = router();
    let create = |key: &str| json!({"create_request": {"key": key, "prev_kv": true}});
    let mut lines = stream(&router, "/v3/watch", &[create("Zm9v"), create("eA==")]).await;
    for id in [None, Some("1")] {
        let created = lines.next().await;
        assert_eq!(created["result"]["created"], true);
        assert_eq!(created["result"]["watch_id"].as_str(), id);
    }
    done(
        &router,
        "/v3/kv/put",
        json!({"key": "Zm9v", "value": "YmFy"}),
    )
    .await;
    let event = lines.next().await;
    let events = json!([{"kv": {"key": "Zm9v", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "YmFy"}}]);
    assert_eq!(event["result"]["events"], events);
    done(&router, "/v3/kv/deleterange", json!({"key": "Zm9v"})).await;
    let event = lines.next().await;
    assert_eq!(event["result"]["events"][0]["type"], "DELETE");
    assert_eq!(event["result"]["events"][0]["prev_kv"]["value"], "YmFy");
}

#[tokio::test]
async fn keep_alives_and_snapshots_are_lines_of_results() {
    let router = router();
    done(&router, "/v3/lease/grant", json!({"ID": 5, "TTL": 60})).await;
    let alive = [json!({"ID": 5}), json!({"ID": "6"})];
    let mut lines = stream(&router, "/v3/lease/keepalive", &alive).await;
    assert_eq!(lines.next().await["result"]["TTL"], "60");
    let gone = lines.next().await;
    assert_eq!(
        (gone["result"]["ID"].as_str(), gone["result"].get("TTL")),
        (Some("6"), None)
    );
    let mut lines = stream(&router, "/v3/maintenance/snapshot", &[]).await;
    let first = lines.next().await;
    assert!(
        first["result"]["blob"]
            .as_str()
            .is_some_and(|blob| !blob.is_empty())
    );
}

#[tokio::test]
async fn the_authorization_header_is_the_token() {
    let router = router();
    for (path, body) in [
        (
            "/v3/auth/user/add",
            json!({"name": "root", "password": "r"}),
        ),
        ("/v3/auth/role/add", json!({"name": "root"})),
        (
            "/v3/auth/user/grant",
            json!({"user": "root", "role": "root"}),
        ),
        ("/v3/auth/enable", json!({})),
    ] {
        done(&router, path, body).await;
    }
    let (status, _) = post(&router, "/v3/kv/put", json!({"key": "YQ=="})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let login = json!({"name": "root", "password": "r"});
    let token = done(&router, "/v3/auth/authenticate", login).await["token"].clone();
    for (name, value, expected) in [
        (
            "authorization",
            token.as_str().expect("a token"),
            StatusCode::OK,
        ),
        (
            "grpc-metadata-token",
            token.as_str().expect("a token"),
            StatusCode::OK,
        ),
        ("authorization", "nonsense", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::post("/v3/kv/put").header(name, value);
        let request = request
            .body(Body::from(r#"{"key":"YQ=="}"#))
            .expect("a request");
        assert_eq!(
            send(&router, request).await.status(),
            expected,
            "{name} {value}"
        );
    }
}

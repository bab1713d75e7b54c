//! What a real etcd answered to a list of probes, one after the other, told as
//! status code and text. The probes go through JSON, which goes through gRPC.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kontiki_etcd::Options;
use kontiki_mvcc::LocalStore;
use serde_json::{Value, json};
use tonic::Code;
use tower::ServiceExt;

/// What was asked, and what etcd answered: `None` for success.
struct Probe {
    path: &'static str,
    body: Value,
    refusal: Option<(Code, &'static str)>,
}

fn ok(path: &'static str, body: Value) -> Probe {
    Probe {
        path,
        body,
        refusal: None,
    }
}

fn no(path: &'static str, body: Value, code: Code, text: &'static str) -> Probe {
    Probe {
        path,
        body,
        refusal: Some((code, text)),
    }
}

fn b(text: &str) -> String {
    STANDARD.encode(text)
}

async fn answer(router: &Router, probe: &Probe, token: &str) -> (Option<(Code, String)>, Value) {
    let request = Request::post(probe.path);
    let request = match token {
        "" => request,
        token => request.header("authorization", token),
    };
    let request = request.body(Body::from(probe.body.to_string()));
    let Ok(response) = router.clone().oneshot(request.expect("a request")).await;
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let told: Value = serde_json::from_slice(&bytes.expect("a body")).expect("JSON");
    let refusal = told["code"].as_i64().map(|code| {
        let code = Code::from(i32::try_from(code).expect("a code"));
        (
            code,
            told["message"].as_str().unwrap_or_default().to_owned(),
        )
    });
    (refusal, told)
}

async fn check(router: &Router, probes: Vec<Probe>, token: &str) {
    for probe in probes {
        let (refusal, _) = answer(router, &probe, token).await;
        let told = refusal.as_ref().map(|(code, text)| (*code, text.as_str()));
        assert_eq!(told, probe.refusal, "{} {}", probe.path, probe.body);
    }
}

fn router() -> Router {
    let options = Options {
        // The lowest that there is: nobody guesses passwords here.
        bcrypt_cost: 4,
        ..Options::default()
    };
    kontiki_etcd::router(LocalStore::in_memory(), options)
}

const FUTURE: (Code, &str) = (
    Code::OutOfRange,
    "etcdserver: mvcc: required revision is a future revision",
);
const COMPACTED: (Code, &str) = (
    Code::OutOfRange,
    "etcdserver: mvcc: required revision has been compacted",
);

fn keys() -> Vec<Probe> {
    let invalid = Code::InvalidArgument;
    let (put, range, delete) = ("/v3/kv/put", "/v3/kv/range", "/v3/kv/deleterange");
    let (txn, compact) = ("/v3/kv/txn", "/v3/kv/compaction");
    let a = b("a");
    let put_op = |key: &str| json!({"request_put": {"key": b(key)}});
    let many: Vec<Value> = (0..129)
        .map(|number| put_op(&format!("k{number}")))
        .collect();
    let delete_op = json!({"request_delete_range": {"key": b("a"), "range_end": b("z")}});
    let no_key = "etcdserver: key is not provided";
    let duplicate = "etcdserver: duplicate key given in txn request";
    let mut probes: Vec<Probe> = (0..6)
        .map(|value| ok(put, json!({"key": a, "value": b(&value.to_string())})))
        .collect();
    probes.extend([
        no(put, json!({"value": b("1")}), invalid, no_key),
        no(range, json!({}), invalid, no_key),
        no(delete, json!({}), invalid, no_key),
        no(
            put,
            json!({"key": b("x"), "ignore_value": true}),
            invalid,
            "etcdserver: key not found",
        ),
        no(
            put,
            json!({"key": a, "value": b("1"), "ignore_value": true}),
            invalid,
            "etcdserver: value is provided",
        ),
        no(
            put,
            json!({"key": b("x"), "ignore_lease": true}),
            invalid,
            "etcdserver: key not found",
        ),
        no(
            put,
            json!({"key": a, "lease": "5", "ignore_lease": true}),
            invalid,
            "etcdserver: lease is provided",
        ),
        no(
            put,
            json!({"key": a, "lease": "5"}),
            Code::NotFound,
            "etcdserver: requested lease not found",
        ),
        no(
            range,
            json!({"key": a, "revision": "100"}),
            FUTURE.0,
            FUTURE.1,
        ),
        ok(compact, json!({"revision": "4"})),
        no(compact, json!({"revision": "4"}), COMPACTED.0, COMPACTED.1),
        no(compact, json!({"revision": "1000"}), FUTURE.0, FUTURE.1),
        no(
            range,
            json!({"key": a, "revision": "3"}),
            COMPACTED.0,
            COMPACTED.1,
        ),
        ok(range, json!({"key": a, "revision": "4"})),
        ok(range, json!({"key": a, "revision": "-1"})),
        ok(range, json!({"key": b("b"), "range_end": a})),
        no(
            range,
            json!({"key": a, "sort_order": 7}),
            invalid,
            "etcdserver: invalid sort option",
        ),
        no(
            txn,
            json!({"success": [put_op("x"), put_op("x")]}),
            invalid,
            duplicate,
        ),
        no(
            txn,
            json!({"success": [put_op("b"), delete_op]}),
            invalid,
            duplicate,
        ),
        no(
            txn,
            json!({"success": many}),
            invalid,
            "etcdserver: too many operations in txn request",
        ),
        no(
            txn,
            json!({"success": [{}]}),
            invalid,
            "etcdserver: key not found",
        ),
        no(
            txn,
            json!({"compare": [{"target": "MOD"}]}),
            invalid,
            no_key,
        ),
        ok(txn, json!({})),
        no(
            txn,
            json!({"success": [{"request_range": {"key": a, "revision": "3"}}]}),
            COMPACTED.0,
            COMPACTED.1,
        ),
        no(
            put,
            json!({"key": a, "value": STANDARD.encode(vec![0; 1_600_000])}),
            invalid,
            "etcdserver: request is too large",
        ),
    ]);
    probes
}

fn leases_and_members() -> Vec<Probe> {
    let failed = Code::FailedPrecondition;
    let (grant, revoke) = ("/v3/lease/grant", "/v3/lease/revoke");
    let no_lease = "etcdserver: requested lease not found";
    let no_member = "etcdserver: member not found";
    let (remove, promote) = ("/v3/cluster/member/remove", "/v3/cluster/member/promote");
    vec![
        ok(grant, json!({"TTL": 0})),
        ok(grant, json!({"TTL": -5})),
        no(
            grant,
            json!({"TTL": "9000000001"}),
            Code::OutOfRange,
            "etcdserver: too large lease TTL",
        ),
        ok(grant, json!({"ID": 77, "TTL": 100})),
        no(
            grant,
            json!({"ID": 77, "TTL": 100}),
            failed,
            "etcdserver: lease already exists",
        ),
        no(revoke, json!({"ID": 78}), Code::NotFound, no_lease),
        ok("/v3/lease/timetolive", json!({"ID": 78})),
        no(remove, json!({"ID": 5}), Code::NotFound, no_member),
        no(promote, json!({"ID": 5}), Code::NotFound, no_member),
        no(
            "/v3/cluster/member/add",
            json!({"peerURLs": ["nonsense"]}),
            Code::InvalidArgument,
            "etcdserver: given member URLs are invalid",
        ),
        // etcd lets this one through without a code of its own.
        no(
            remove,
            json!({"ID": 1}),
            Code::Unknown,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        no(
            promote,
            json!({"ID": 1}),
            failed,
            "etcdserver: can only promote a learner member",
        ),
        no(
            "/v3/maintenance/transfer-leadership",
            json!({"targetID": 5}),
            failed,
            "etcdserver: bad leader transferee",
        ),
        no(
            "/v3/maintenance/hashkv",
            json!({"revision": "1000"}),
            FUTURE.0,
            FUTURE.1,
        ),
        no(
            "/v3/maintenance/hashkv",
            json!({"revision": "3"}),
            COMPACTED.0,
            COMPACTED.1,
        ),
        ok("/v3/maintenance/status", json!({})),
    ]
}

fn users() -> Vec<Probe> {
    let (failed, invalid) = (Code::FailedPrecondition, Code::InvalidArgument);
    let (user, role) = ("/v3/auth/user/add", "/v3/auth/role/add");
    let enable = "/v3/auth/enable";
    let root = json!({"name": "root", "password": "r"});
    vec![
        no(
            enable,
            json!({}),
            failed,
            "etcdserver: root user does not exist",
        ),
        no(
            "/v3/auth/authenticate",
            root.clone(),
            failed,
            "etcdserver: authentication is not enabled",
        ),
        no(
            user,
            json!({"name": ""}),
            invalid,
            "etcdserver: user name is empty",
        ),
        no(
            role,
            json!({"name": ""}),
            invalid,
            "etcdserver: role name is empty",
        ),
        no(
            "/v3/auth/user/get",
            json!({"name": "x"}),
            failed,
            "etcdserver: user name not found",
        ),
        no(
            "/v3/auth/role/get",
            json!({"role": "x"}),
            failed,
            "etcdserver: role name not found",
        ),
        ok(user, root.clone()),
        no(user, root, failed, "etcdserver: user name already exists"),
        no(
            enable,
            json!({}),
            failed,
            "etcdserver: root user does not have root role",
        ),
        ok(role, json!({"name": "root"})),
        no(
            role,
            json!({"name": "root"}),
            failed,
            "etcdserver: role name already exists",
        ),
        no(
            "/v3/auth/user/revoke",
            json!({"name": "root", "role": "root"}),
            failed,
            "etcdserver: role is not granted to the user",
        ),
        no(
            "/v3/auth/role/revoke",
            json!({"role": "root", "key": b("a")}),
            failed,
            "etcdserver: permission is not granted to the role",
        ),
        ok(
            "/v3/auth/user/grant",
            json!({"user": "root", "role": "root"}),
        ),
        ok(user, json!({"name": "u", "password": "p"})),
        ok(enable, json!({})),
    ]
}

#[tokio::test]
async fn every_probe_is_answered_as_etcd_answers_it() {
    let router = router();
    for probes in [keys(), leases_and_members(), users()] {
        check(&router, probes, "").await;
    }
    let a = json!({"key": b("a")});
    let (put, range) = ("/v3/kv/put", "/v3/kv/range");
    let denied = (Code::PermissionDenied, "etcdserver: permission denied");
    let nobody = no(
        put,
        a.clone(),
        Code::InvalidArgument,
        "etcdserver: user name is empty",
    );
    check(&router, vec![nobody], "").await;
    let bogus = no(
        put,
        a.clone(),
        Code::Unauthenticated,
        "etcdserver: invalid auth token",
    );
    check(&router, vec![bogus], "nonsense").await;
    let login = |name: &str, password: &str| {
        ok(
            "/v3/auth/authenticate",
            json!({"name": name, "password": password}),
        )
    };
    let wrong = Probe {
        refusal: Some((
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        )),
        ..login("u", "x")
    };
    check(&router, vec![wrong], "").await;
    let (_, told) = answer(&router, &login("u", "p"), "").await;
    let user = told["token"].as_str().expect("a token").to_owned();
    let probes = vec![
        no(put, a.clone(), denied.0, denied.1),
        no(range, a.clone(), denied.0, denied.1),
        no("/v3/maintenance/defragment", json!({}), denied.0, denied.1),
        no(
            "/v3/auth/user/add",
            json!({"name": "v"}),
            denied.0,
            denied.1,
        ),
    ];
    check(&router, probes, &user).await;
    let (_, told) = answer(&router, &login("root", "r"), "").await;
    let root = told["token"].as_str().expect("a token").to_owned();
    let management = "etcdserver: invalid auth management";
    let probes = vec![
        no(
            "/v3/auth/user/delete",
            json!({"name": "root"}),
            Code::InvalidArgument,
            management,
        ),
        ok(put, a),
        ok("/v3/auth/disable", json!({})),
    ];
    check(&router, probes, &root).await;
}

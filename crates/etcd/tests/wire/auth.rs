//! Users and roles, locks and elections, as clients see them.

use crate::etcdctl::ctl;
use crate::served::{Served, serve, serve_with};
use kontiki_etcd::Options;
use kontiki_etcd::pb::authpb;
use kontiki_etcd::pb::etcdserverpb as pb;
use kontiki_etcd::pb::etcdserverpb::auth_client::AuthClient;
use kontiki_etcd::pb::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::pb::etcdserverpb::watch_client::WatchClient;
use kontiki_etcd::pb::v3electionpb as election;
use kontiki_etcd::pb::v3electionpb::election_client::ElectionClient;
use kontiki_etcd::pb::v3lockpb as lock;
use kontiki_etcd::pb::v3lockpb::lock_client::LockClient;
use tonic::{Code, Request, Status};

async fn quick() -> Served {
    serve_with(Options {
        // Hashes that are easy to guess, and quick.
        bcrypt_cost: 4,
        ..Options::default()
    })
    .await
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let token = token.parse().expect("a header's value");
    request.metadata_mut().insert("token", token);
    request
}

fn answer<T>(result: Result<T, Status>) -> (Code, String) {
    match result {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

fn user(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest {
        name: name.into(),
        password: password.into(),
        ..pb::AuthUserAddRequest::default()
    }
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..pb::PutRequest::default()
    }
}

/// root, and a user `u` who may read and write keys from `a` up to `c`.
async fn enable(served: &Served) {
    let mut auth = AuthClient::new(served.channel.clone());
    for (name, password) in [("root", "r"), ("u", "p")] {
        auth.user_add(user(name, password))
            .await
            .expect("a new user");
    }
    auth.role_add(pb::AuthRoleAddRequest {
        name: "role".into(),
    })
    .await
    .expect("a new role");
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "a".into(),
        range_end: "c".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest {
        name: "role".into(),
        perm: Some(perm),
    };
    auth.role_grant_permission(grant)
        .await
        .expect("a permission");
    for (user, role) in [("root", "root"), ("u", "role")] {
        let grant = pb::AuthUserGrantRoleRequest {
            user: user.into(),
            role: role.into(),
        };
        auth.user_grant_role(grant).await.expect("a role");
    }
    auth.auth_enable(pb::AuthEnableRequest {})
        .await
        .expect("it is enabled");
}

async fn token(served: &Served, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest {
        name: name.into(),
        password: password.into(),
    };
    let mut auth = AuthClient::new(served.channel.clone());
    Ok(auth.authenticate(request).await?.into_inner().token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_auth_refuses_it_refuses_in_etcds_words() {
    let served = quick().await;
    let mut auth = AuthClient::new(served.channel.clone());
    let enable_now = pb::AuthEnableRequest {};
    for (answered, expected) in [
        (
            answer(auth.auth_enable(enable_now).await),
            (
                Code::FailedPrecondition,
                "etcdserver: root user does not exist",
            ),
        ),
        (
            answer(token(&served, "u", "p").await),
            (
                Code::FailedPrecondition,
                "etcdserver: authentication is not enabled",
            ),
        ),
        (
            answer(auth.user_add(user("", "p")).await),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
        ),
        (
            answer(
                auth.user_get(pb::AuthUserGetRequest { name: "x".into() })
                    .await,
            ),
            (Code::FailedPrecondition, "etcdserver: user name not found"),
        ),
        (
            answer(
                auth.role_get(pb::AuthRoleGetRequest { role: "x".into() })
                    .await,
            ),
            (Code::FailedPrecondition, "etcdserver: role name not found"),
        ),
    ] {
        assert_eq!((answered.0, answered.1.as_str()), expected);
    }
    enable(&served).await;
    let mut kv = KvClient::new(served.channel.clone());
    let mut maintenance = MaintenanceClient::new(served.channel.clone());
    let u = token(&served, "u", "p").await.expect("a token");
    let root = token(&served, "root", "r").await.expect("a token");
    let range = |key: &str, end: &str| pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..pb::RangeRequest::default()
    };
    let nested = pb::TxnRequest {
        failure: vec![pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put("z"))),
        }],
        ..pb::TxnRequest::default()
    };
    let denied = (Code::PermissionDenied, "etcdserver: permission denied");
    let fine = (Code::Ok, "");
    let delete_root = pb::AuthUserDeleteRequest {
        name: "root".into(),
    };
    for (answered, expected) in [
        (
            answer(kv.put(put("a")).await),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
        ),
        (
            answer(kv.put(with_token(put("a"), "bogus")).await),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ),
        (
            answer(token(&served, "u", "wrong").await),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
        ),
        (answer(kv.put(with_token(put("b"), &u)).await), fine),
        (answer(kv.put(with_token(put("c"), &u)).await), denied),
        (answer(kv.put(with_token(put("c"), &root)).await), fine),
        (
            answer(kv.range(with_token(range("a", "c"), &u)).await),
            fine,
        ),
        (
            answer(kv.range(with_token(range("a", "d"), &u)).await),
            denied,
        ),
        (answer(kv.txn(with_token(nested, &u)).await), denied),
        (
            answer(
                maintenance
                    .defragment(with_token(pb::DefragmentRequest {}, &u))
                    .await,
            ),
            denied,
        ),
        (
            answer(auth.user_delete(with_token(delete_root, &root)).await),
            (Code::InvalidArgument, "etcdserver: invalid auth management"),
        ),
    ] {
        assert_eq!((answered.0, answered.1.as_str()), expected);
    }
    // A token outlives other users' changes, but not its own user's.
    auth.user_add(with_token(user("other", "x"), &root))
        .await
        .expect("a new user");
    kv.put(with_token(put("b"), &u))
        .await
        .expect("the token is good");
    let password = pb::AuthUserChangePasswordRequest {
        name: "u".into(),
        password: "new".into(),
        ..pb::AuthUserChangePasswordRequest::default()
    };
    auth.user_change_password(with_token(password, &root))
        .await
        .expect("a new password");
    let stale = kv
        .put(with_token(put("b"), &u))
        .await
        .expect_err("the token is void");
    assert_eq!(stale.code(), Code::Unauthenticated);
    auth.auth_disable(with_token(pb::AuthDisableRequest {}, &root))
        .await
        .expect("disabled");
    kv.put(put("z")).await.expect("everybody may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_without_permission_is_cancelled_with_the_reason() {
    let served = quick().await;
    enable(&served).await;
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        ..pb::WatchCreateRequest::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    let requests =
        futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
    let mut watch = WatchClient::new(served.channel.clone());
    let mut answers = watch.watch(requests).await.expect("a stream").into_inner();
    let answer = answers
        .message()
        .await
        .expect("an answer")
        .expect("an answer");
    assert!(answer.created && answer.canceled && answer.watch_id == -1);
    assert_eq!(
        answer.cancel_reason,
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_manages_users_and_roles() {
    let served = quick().await;
    for (args, expected) in [
        (&["user", "add", "root:r"][..], "User root created"),
        (&["user", "add", "u:p"], "User u created"),
        (&["role", "add", "reader"], "Role reader created"),
        (
            &["role", "grant-permission", "reader", "read", "a", "c"],
            "Role reader updated",
        ),
        (
            &["user", "grant-role", "u", "reader"],
            "Role reader is granted to user u",
        ),
        (&["auth", "enable"], "Authentication Enabled"),
        (&["--user=root:r", "put", "a", "1"], "OK"),
        (&["--user=u:p", "get", "a"], "a\n1"),
        (&["--user=u:p", "put", "a", "2"], "permission denied"),
        (&["--user=u:x", "get", "a"], "authentication failed"),
        (&["get", "a"], "user name is empty"),
        (&["--user=root:r", "user", "list"], "root\nu"),
        (&["--user=root:r", "role", "get", "reader"], "[a, c)"),
        (&["--user=u:p", "user", "get", "u"], "Roles: reader"),
        (
            &["--user=root:r", "user", "revoke-role", "u", "reader"],
            "revoked from user u",
        ),
        (&["--user=u:p", "get", "a"], "permission denied"),
        (&["--user=root:r", "user", "delete", "u"], "User u deleted"),
        (
            &["--user=root:r", "auth", "disable"],
            "Authentication Disabled",
        ),
        (&["get", "a"], "a\n1"),
    ] {
        let Some(output) = ctl(&served, args, "").await else {
            return;
        };
        assert!(output.contains(expected), "etcdctl {args:?}: {output}");
    }
}

async fn lease(served: &Served) -> i64 {
    let mut leases = LeaseClient::new(served.channel.clone());
    let grant = pb::LeaseGrantRequest { ttl: 100, id: 0 };
    leases
        .lease_grant(grant)
        .await
        .expect("a lease")
        .into_inner()
        .id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_by_one_and_passed_on_when_it_is_given_up_or_its_lease_ends() {
    let served = serve().await;
    let mut client = LockClient::new(served.channel.clone());
    let request = |lease| lock::LockRequest {
        name: "l".into(),
        lease,
    };
    let (first, second, third) = (
        lease(&served).await,
        lease(&served).await,
        lease(&served).await,
    );
    let held = client
        .lock(request(first))
        .await
        .expect("a free lock")
        .into_inner();
    assert_eq!(held.key, format!("l/{first:x}"));
    let again = client
        .lock(request(first))
        .await
        .expect("its own lock")
        .into_inner();
    assert_eq!(again.key, held.key);
    let wait = |lease| {
        let mut client = LockClient::new(served.channel.clone());
        tokio::spawn(async move { client.lock(request(lease)).await })
    };
    let waiting = wait(second);
    wait_for_keys(&served, "l/", 2).await;
    let last = wait(third);
    wait_for_keys(&served, "l/", 3).await;
    assert!(!waiting.is_finished() && !last.is_finished());
    client
        .unlock(lock::UnlockRequest { key: held.key })
        .await
        .expect("unlocked");
    let held = waiting
        .await
        .expect("no panic")
        .expect("its turn")
        .into_inner();
    assert_eq!(held.key, format!("l/{second:x}"));
    let mut leases = LeaseClient::new(served.channel.clone());
    leases
        .lease_revoke(pb::LeaseRevokeRequest { id: second })
        .await
        .expect("revoked");
    last.await.expect("no panic").expect("its turn");
}

async fn wait_for_keys(served: &Served, prefix: &str, count: i64) {
    use kontiki_store::{KeyRange, RangeRequest, Store};
    loop {
        let request = RangeRequest {
            range: KeyRange::prefix(prefix.to_owned()),
            count_only: true,
            ..RangeRequest::default()
        };
        if served.store.range(request).await.expect("a count").count == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_has_one_leader_whom_everybody_sees() {
    let served = serve().await;
    let mut client = ElectionClient::new(served.channel.clone());
    let name = || election::LeaderRequest { name: "e".into() };
    let nobody = client.leader(name()).await.expect_err("nobody leads");
    assert_eq!(nobody.message(), "election: no leader");
    let mut seen = client.observe(name()).await.expect("a stream").into_inner();
    let campaign = |lease, value: &str| election::CampaignRequest {
        name: "e".into(),
        lease,
        value: value.to_owned().into(),
    };
    let (one, two) = (lease(&served).await, lease(&served).await);
    let won = client
        .campaign(campaign(one, "one"))
        .await
        .expect("elected")
        .into_inner();
    let waiting = tokio::spawn({
        let mut client = ElectionClient::new(served.channel.clone());
        let campaign = campaign(two, "two");
        async move { client.campaign(campaign).await }
    });
    wait_for_keys(&served, "e/", 2).await;
    let mut next = async || {
        let answer = seen.message().await.expect("an answer").expect("an answer");
        String::from_utf8(answer.kv.expect("a leader").value.to_vec()).expect("text")
    };
    assert_eq!(next().await, "one");
    let proclaim = election::ProclaimRequest {
        leader: won.leader.clone(),
        value: "still one".into(),
    };
    client.proclaim(proclaim).await.expect("it leads");
    assert_eq!(next().await, "still one");
    let resign = || election::ResignRequest {
        leader: won.leader.clone(),
    };
    client.resign(resign()).await.expect("it led");
    assert_eq!(next().await, "two");
    waiting.await.expect("no panic").expect("elected");
    let proclaim = election::ProclaimRequest {
        leader: won.leader,
        value: "once more".into(),
    };
    let late = client
        .proclaim(proclaim)
        .await
        .expect_err("it does not lead");
    assert_eq!(late.message(), "election: not leader");
}

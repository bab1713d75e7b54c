//! The `etcd-client` crate, as a program uses it.

use crate::served::{Served, serve_with};
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, EventType, GetOptions, LockOptions,
    Permission, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};
use kontiki_etcd::Options;

async fn serve() -> Served {
    let options = Options {
        bcrypt_cost: 4,
        ..Options::default()
    };
    serve_with(options).await
}

async fn connect(served: &Served, options: Option<ConnectOptions>) -> Client {
    let endpoint = format!("http://{}", served.address);
    Client::connect([endpoint], options)
        .await
        .expect("it connects")
}

#[tokio::test]
async fn keys_and_transactions() {
    let served = serve().await;
    let mut client = connect(&served, None).await;
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        client.put(key, value, None).await.expect("a put");
    }
    let prev = PutOptions::new().with_prev_key();
    let put = client.put("a", "4", Some(prev)).await.expect("a put");
    assert_eq!(put.prev_key().expect("it was there").value(), b"1");
    let options = GetOptions::new()
        .with_range("c")
        .with_sort(SortTarget::Key, SortOrder::Descend)
        .with_limit(1);
    let got = client.get("a", Some(options)).await.expect("a range");
    assert_eq!(
        (got.count(), got.more(), got.kvs()[0].key()),
        (2, true, &b"b"[..])
    );

    let txn = |expected: &str| {
        Txn::new()
            .when([Compare::value("a", CompareOp::Equal, expected)])
            .and_then([TxnOp::put("a", "5", None), TxnOp::get("a", None)])
            .or_else([TxnOp::delete("b", None)])
    };
    let done = client.txn(txn("4")).await.expect("a transaction");
    assert!(done.succeeded());
    assert_eq!(done.op_responses().len(), 2);
    assert!(
        !client
            .txn(txn("4"))
            .await
            .expect("a transaction")
            .succeeded()
    );
    let all = DeleteOptions::new().with_prefix();
    let deleted = client.delete("", Some(all)).await.expect("a deletion");
    assert_eq!(deleted.deleted(), 2);
    let revision = deleted.header().expect("a header").revision();
    client.compact(revision, None).await.expect("a compaction");
    let error = client
        .compact(revision, None)
        .await
        .expect_err("done before");
    assert!(
        error
            .to_string()
            .contains("required revision has been compacted"),
        "{error}"
    );
}

#[tokio::test]
async fn watches_and_leases() {
    let served = serve().await;
    let mut client = connect(&served, None).await;
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut watch = client.watch("k", Some(options)).await.expect("a watch");
    let lease = client.lease_grant(60, None).await.expect("a lease").id();
    let leased = PutOptions::new().with_lease(lease);
    client.put("k1", "v", Some(leased)).await.expect("a put");
    let (mut keeper, mut alive) = client.lease_keep_alive(lease).await.expect("a stream");
    keeper.keep_alive().await.expect("it is sent");
    let kept = alive
        .message()
        .await
        .expect("an answer")
        .expect("an answer");
    assert_eq!(kept.ttl(), 60);
    client.lease_revoke(lease).await.expect("it ends");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let response = watch
            .message()
            .await
            .expect("a response")
            .expect("it goes on");
        for event in response.events() {
            seen.push((event.event_type(), event.prev_kv().is_some()));
        }
    }
    assert_eq!(seen, [(EventType::Put, false), (EventType::Delete, true)]);
}

#[tokio::test]
async fn locks_and_elections() {
    let served = serve().await;
    let mut client = connect(&served, None).await;
    let lease = client.lease_grant(60, None).await.expect("a lease").id();
    let options = LockOptions::new().with_lease(lease);
    let held = client.lock("l", Some(options)).await.expect("a lock");
    client.unlock(held.key()).await.expect("it is given up");
    let campaign = client.campaign("e", "me", lease).await.expect("a campaign");
    let led = campaign.leader().expect("it leads");
    assert_eq!(led.name(), b"e");
    let leader = client.leader("e").await.expect("somebody leads");
    assert_eq!(leader.kv().expect("a key").value(), b"me");
}

#[tokio::test]
async fn members_and_users() {
    let served = serve().await;
    let mut client = connect(&served, None).await;
    let members = client.member_list().await.expect("the members");
    assert_eq!(members.members().len(), 1);
    assert!(
        !client
            .status()
            .await
            .expect("a status")
            .version()
            .is_empty()
    );
    client.role_add("r").await.expect("a role");
    let granted = client
        .role_grant_permission("r", Permission::read("k"))
        .await;
    granted.expect("a permission");
    client.user_add("u", "p", None).await.expect("a user");
    client.user_grant_role("u", "r").await.expect("a grant");
    client.user_add("root", "r", None).await.expect("a user");
    client.role_add("root").await.expect("a role");
    client
        .user_grant_role("root", "root")
        .await
        .expect("a grant");
    client.auth_enable().await.expect("it is enabled");
    let login = ConnectOptions::new().with_user("u", "p");
    let mut user = connect(&served, Some(login)).await;
    user.get("k", None).await.expect("it may read");
    let error = user
        .put("k", "v", None)
        .await
        .expect_err("it may not write");
    assert!(error.to_string().contains("permission denied"), "{error}");
}

use super::*;
use kontiki_mvcc::LocalStore;
use kontiki_store::{Op, PutRequest, TxnRequest};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    let put = Op::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    });
    let txn = TxnRequest {
        success: vec![put],
        ..TxnRequest::default()
    };
    store.txn(txn).await.expect("writes").header.revision
}

async fn started() -> (Arc<WatchCache>, Arc<ResourceCache>, CancellationToken) {
    let store: Arc<dyn Store> = LocalStore::in_memory();
    put(&*store, "/registry/things/a/one", "1").await;
    let cache = WatchCache::new(store, CacheLimits::default());
    let things = cache.resource("/registry/things");
    let cancel = CancellationToken::new();
    tokio::spawn(cache.clone().run(cancel.clone()));
    cache.wait_fresh(PATIENCE).await.expect("fills");
    (cache, things, cancel)
}

#[tokio::test]
async fn what_lay_in_the_store_and_what_comes_later_is_there() {
    let (cache, things, _cancel) = started().await;
    assert_eq!(things.len(), 1);
    put(&**cache.store(), "/registry/things/b/two", "2").await;
    cache.wait_fresh(PATIENCE).await.expect("follows");
    let snapshot = things.snapshot();
    let keys: Vec<_> = snapshot.range("b/", "").map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["b/two"]);
}

#[tokio::test]
async fn a_snapshot_of_the_past_is_what_the_present_was_then() {
    let (cache, things, _cancel) = started().await;
    let mut seen = vec![(cache.revision(), things.snapshot())];
    for round in 0..20 {
        let key = format!("/registry/things/a/k{}", round % 7);
        put(&**cache.store(), &key, &round.to_string()).await;
        cache.wait_fresh(PATIENCE).await.expect("follows");
        seen.push((cache.revision(), things.snapshot()));
    }
    let flat = |snapshot: &Snapshot| -> Vec<(String, bytes::Bytes)> {
        let pairs = snapshot.objects.iter();
        pairs
            .map(|(key, object)| (key.to_string(), object.value().clone()))
            .collect()
    };
    for (revision, then) in &seen {
        let again = things.snapshot_at(*revision).expect("is in the window");
        assert_eq!(flat(&again), flat(then), "at {revision}");
    }
    assert!(things.snapshot_at(1).is_err());
}

#[tokio::test]
async fn a_write_elsewhere_is_no_obstacle_to_a_fresh_read() {
    let (cache, _things, _cancel) = started().await;
    let revision = put(&**cache.store(), "/elsewhere", "x").await;
    let reached = cache.wait_fresh(PATIENCE).await.expect("follows");
    assert!(reached >= revision);
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended_and_blocks_nobody() {
    let store: Arc<dyn Store> = LocalStore::in_memory();
    let limits = CacheLimits {
        watcher_events_max: 2,
        ..CacheLimits::default()
    };
    let cache = WatchCache::new(store, limits);
    let things = cache.resource("/registry/things");
    tokio::spawn(cache.clone().run(CancellationToken::new()));
    cache.wait_fresh(PATIENCE).await.expect("fills");
    let mut slow = things
        .subscribe("", false, cache.revision())
        .expect("watches");
    for round in 0..5 {
        put(
            &**cache.store(),
            &format!("/registry/things/a/{round}"),
            "x",
        )
        .await;
    }
    cache.wait_fresh(PATIENCE).await.expect("follows");
    let mut got = 0;
    while slow.events.recv().await.is_some() {
        got += 1;
    }
    assert_eq!(got, 2);
}

//! The store of one replica, as its users see it.

use kontiki_mvcc::LocalStore;
use kontiki_store::{
    KeyRange, Op, PutRequest, RangeRequest, SortOrder, Store, StoreError, TxnRequest, WatchItem,
    WatchRequest,
};
use std::time::Duration;

fn put(key: &str, lease: i64) -> TxnRequest {
    let put = PutRequest {
        key: key.to_owned().into(),
        lease,
        ..Default::default()
    };
    TxnRequest {
        success: vec![Op::Put(put)],
        ..Default::default()
    }
}

fn one(key: &str) -> RangeRequest {
    RangeRequest {
        range: KeyRange::one(key.to_owned()),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_when_nobody_keeps_it_alive_and_not_earlier() {
    let store = LocalStore::in_memory();
    store.lease_grant(7, 10).await.expect("a lease");
    store.txn(put("a", 7)).await.expect("a put");
    store.txn(put("b", 7)).await.expect("a put");
    let mut watch = store
        .watch(WatchRequest {
            range: KeyRange {
                key: "a".into(),
                end: "z".into(),
            },
            ..Default::default()
        })
        .await
        .expect("a watch");
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(
        store
            .lease_keep_alive(7)
            .await
            .expect("an answer")
            .ttl_seconds,
        10
    );
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(store.range(one("a")).await.expect("a range").count, 1);
    assert_eq!(
        store
            .lease_info(7, false)
            .await
            .expect("an answer")
            .ttl_seconds,
        1
    );
    match watch.next().await {
        Some(WatchItem::Events(batch)) => assert_eq!((batch.revision, batch.events.len()), (4, 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.range(one("a")).await.expect("a range").count, 0);
    assert_eq!(
        store
            .lease_info(7, false)
            .await
            .expect("an answer")
            .ttl_seconds,
        -1
    );
    assert_eq!(
        store
            .lease_keep_alive(7)
            .await
            .expect("an answer")
            .ttl_seconds,
        0
    );
    assert_eq!(store.lease_revoke(7).await, Err(StoreError::LeaseNotFound));
}

#[tokio::test]
async fn a_physical_compaction_returns_when_the_space_is_free() {
    let store = LocalStore::in_memory();
    for _ in 0..3000 {
        store.txn(put("a", 0)).await.expect("a put");
    }
    let before = store.machine().size().total_bytes;
    store.compact(3001, true).await.expect("a compaction");
    let after = store.machine().size().total_bytes;
    assert!(after < before / 100, "{before} bytes became {after}");
    assert_eq!(
        store.range(one("a")).await.expect("a range").kvs[0].version,
        3000
    );
}

#[tokio::test]
async fn a_stopped_store_ends_its_watches() {
    let store = LocalStore::in_memory();
    let mut watch = store.watch(WatchRequest::default()).await.expect("a watch");
    drop(store);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn long_ranges_show_each_keys_newest_value_whatever_lies_between() {
    let store = LocalStore::in_memory();
    let mut expected: std::collections::BTreeMap<Vec<u8>, String> = Default::default();
    // Keys that are prefixes of each other, with zero bytes, with many versions, and deleted ones.
    for round in 0..12_usize {
        for number in 0..80_usize {
            let mut key = format!("k/{}", number / 4).into_bytes();
            key.extend(std::iter::repeat_n(0, number % 4));
            if number % 7 > round % 7 {
                continue;
            }
            let value = format!("{number} in {round}");
            let op = if (number + round) % 11 == 3 {
                expected.remove(&key);
                Op::DeleteRange(kontiki_store::DeleteRangeRequest {
                    range: KeyRange::one(key),
                    prev_kv: false,
                })
            } else {
                expected.insert(key.clone(), value.clone());
                Op::Put(PutRequest {
                    key: key.into(),
                    value: value.into(),
                    ..Default::default()
                })
            };
            let txn = TxnRequest {
                success: vec![op],
                ..Default::default()
            };
            store.txn(txn).await.expect("a write");
        }
    }
    assert!(expected.len() > 40);
    for limit in [0, 20, 33] {
        for order in [SortOrder::Ascend, SortOrder::Descend] {
            let request = RangeRequest {
                range: KeyRange::prefix("k/"),
                limit,
                order,
                ..Default::default()
            };
            let found = store.range(request).await.expect("a range").kvs;
            let found: Vec<_> = found
                .iter()
                .map(|kv| (&kv.key[..], std::str::from_utf8(&kv.value).expect("text")))
                .collect();
            let mut wanted: Vec<_> = expected
                .iter()
                .map(|(key, value)| (&key[..], value.as_str()))
                .collect();
            if order == SortOrder::Descend {
                wanted.reverse();
            }
            if limit > 0 {
                wanted.truncate(usize::try_from(limit).expect("small"));
            }
            assert_eq!(found, wanted, "limit {limit}, {order:?}");
        }
    }
}

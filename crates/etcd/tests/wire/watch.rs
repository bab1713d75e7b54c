//! The watch protocol, message by message.

use crate::served::{serve, serve_with};
use crate::watching::{Client, from, revisions};
use kontiki_etcd::Options;
use kontiki_etcd::pb::etcdserverpb::{self as pb, watch_request::RequestUnion};
use std::time::Duration;

#[tokio::test]
async fn watches_of_one_stream_have_ids_of_their_own_and_get_their_own_events() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    client.create(from("a", 0));
    let created = client.next().await;
    assert!(
        created.created && created.watch_id == 0 && created.header.expect("a header").revision == 1
    );
    client.create(pb::WatchCreateRequest {
        range_end: "c".into(),
        prev_kv: true,
        ..from("b", 0)
    });
    assert_eq!(client.next().await.watch_id, 1);
    client.create(pb::WatchCreateRequest {
        watch_id: 7,
        ..from("c", 0)
    });
    assert_eq!(client.next().await.watch_id, 7);

    client.put("a", "1").await;
    let event = client.next().await;
    assert_eq!((event.watch_id, revisions(&event)), (0, vec![2]));
    client.put("b1", "1").await;
    assert_eq!(client.next().await.watch_id, 1);
    client.delete("b1").await;
    let event = client.next().await;
    assert_eq!((event.watch_id, event.events[0].r#type), (1, 1));
    assert_eq!(
        event.events[0]
            .prev_kv
            .as_ref()
            .expect("the previous version")
            .value,
        "1"
    );

    client.create(pb::WatchCreateRequest {
        watch_id: 7,
        ..from("c", 0)
    });
    let refused = client.next().await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
    assert_eq!(
        refused.cancel_reason,
        "mvcc: duplicate watch ID provided on the WatchStream"
    );
    client.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest {
        watch_id: 7,
    }));
    let cancelled = client.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 7);
}

#[tokio::test]
async fn watches_that_cannot_be_are_refused_as_etcd_refuses_them() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    for value in ["1", "2", "3"] {
        client.put("a", value).await;
    }
    client.compact(4).await;
    client.create(pb::WatchCreateRequest {
        range_end: "A".into(),
        ..from("a", 0)
    });
    let refused = client.next().await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    client.create(from("a", -1));
    let refused = client.next().await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
    assert_eq!(
        refused.cancel_reason,
        "etcdserver: mvcc: required revision has been compacted"
    );
    client.create(from("a", 3));
    let created = client.next().await;
    assert!(created.created && !created.canceled);
    let compacted = client.next().await;
    assert!(compacted.canceled && !compacted.created && compacted.compact_revision == 4);
    client.create(from("a", 4));
    assert!(client.next().await.created);
    assert_eq!(revisions(&client.next().await), [4]);
}

#[tokio::test]
async fn history_comes_in_order_and_then_the_present() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    for value in 0..50 {
        client.put("a", &value.to_string()).await;
    }
    client.create(from("a", 10));
    assert!(client.next().await.created);
    let mut seen = Vec::new();
    while seen.last() != Some(&51) {
        seen.extend(revisions(&client.next().await));
    }
    client.put("a", "last").await;
    seen.extend(revisions(&client.next().await));
    assert_eq!(seen, (10..=52).collect::<Vec<_>>());
}

#[tokio::test]
async fn filters_leave_out_puts_or_deletions() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    client.create(pb::WatchCreateRequest {
        filters: vec![0],
        ..from("a", 0)
    });
    client.create(pb::WatchCreateRequest {
        filters: vec![1],
        ..from("b", 0)
    });
    assert!(client.next().await.created && client.next().await.created);
    client.put("a", "").await;
    client.delete("a").await;
    let event = client.next().await;
    assert_eq!((event.watch_id, revisions(&event)), (0, vec![3]));
    client.put("b", "").await;
    let event = client.next().await;
    assert_eq!((event.watch_id, revisions(&event)), (1, vec![4]));
}

#[tokio::test]
async fn a_progress_request_is_answered_once_for_the_stream() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    client.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let progress = client.next().await;
    assert!(progress.watch_id == -1 && progress.header.expect("a header").revision == 1);
    client.create(from("a", 2));
    client.create(from("b", 0));
    assert!(client.next().await.created && client.next().await.created);
    for _ in 0..3 {
        client.put("other", "").await;
    }
    client.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let progress = client.next().await;
    assert_eq!((progress.watch_id, progress.events.len()), (-1, 0));
    assert_eq!(progress.header.expect("a header").revision, 4);
}

#[tokio::test]
async fn an_idle_watch_that_wants_it_is_told_the_progress() {
    let options = Options {
        progress_interval: Duration::from_millis(20),
        ..Options::default()
    };
    let served = serve_with(options).await;
    let mut client = Client::new(&served).await;
    client.create(pb::WatchCreateRequest {
        progress_notify: true,
        ..from("a", 0)
    });
    assert!(client.next().await.created);
    client.put("other", "").await;
    loop {
        let progress = client.next().await;
        assert!(progress.events.is_empty() && progress.watch_id == 0);
        if progress.header.expect("a header").revision == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn a_large_revision_is_split_only_for_those_who_allow_it() {
    let options = Options {
        watch_fragment_bytes: 100,
        ..Options::default()
    };
    let served = serve_with(options).await;
    let mut client = Client::new(&served).await;
    client.create(pb::WatchCreateRequest {
        range_end: "b".into(),
        fragment: true,
        ..from("a", 0)
    });
    client.create(pb::WatchCreateRequest {
        range_end: "b".into(),
        ..from("a", 0)
    });
    assert!(client.next().await.created && client.next().await.created);
    let puts = (0..8).map(|n| {
        let put = pb::PutRequest {
            key: format!("a{n}").into(),
            value: vec![b'x'; 40].into(),
            ..Default::default()
        };
        pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put)),
        }
    });
    let txn = pb::TxnRequest {
        success: puts.collect(),
        ..Default::default()
    };
    client.kv.txn(txn).await.expect("a transaction");
    let (mut split, mut whole) = (Vec::new(), Vec::new());
    while split.last() != Some(&false) || whole.is_empty() {
        let response = client.next().await;
        match response.watch_id {
            0 => split.push(response.fragment),
            _ => whole.push(response.events.len()),
        }
    }
    assert!(
        split.len() > 2 && split[..split.len() - 1].iter().all(|fragment| *fragment),
        "{split:?}"
    );
    assert_eq!(whole, [8]);
}

#[tokio::test]
async fn the_end_of_a_lease_is_a_deletion_at_its_own_revision() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    let mut lease = pb::lease_client::LeaseClient::new(served.channel.clone());
    lease
        .lease_grant(pb::LeaseGrantRequest { id: 5, ttl: 60 })
        .await
        .expect("a lease");
    for key in ["a", "b"] {
        let put = pb::PutRequest {
            key: key.into(),
            lease: 5,
            ..Default::default()
        };
        client.kv.put(put).await.expect("a put");
    }
    client.create(pb::WatchCreateRequest {
        range_end: "z".into(),
        ..from("a", 0)
    });
    assert!(client.next().await.created);
    lease
        .lease_revoke(pb::LeaseRevokeRequest { id: 5 })
        .await
        .expect("a revocation");
    let deleted = client.next().await;
    assert_eq!(revisions(&deleted), [4, 4]);
    assert!(deleted.events.iter().all(|event| event.r#type == 1));
}

//! Bugs that etcd had since 2022 and that show at the wire, as scenarios. The
//! numbers are those of etcd's issues, listed in its `tests/robustness/README.md`;
//! the ones that need crashes and peers are in `crates/raft/tests/incidents.rs`.

use crate::served::{serve, serve_with};
use crate::watching::{Client, from, revisions};
use kontiki_etcd::Options;
use kontiki_etcd::pb::etcdserverpb::{self as pb, watch_request::RequestUnion};
use std::time::Duration;

fn prefix(start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        range_end: "l".into(),
        ..from("k", start_revision)
    }
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    let put = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put)),
    }
}

fn range_op(key: &str, revision: i64) -> pb::RequestOp {
    let range = pb::RangeRequest {
        key: key.to_owned().into(),
        revision,
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestRange(range)),
    }
}

/// 15220: a progress response overtook events of the revisions it spoke of.
#[tokio::test]
async fn progress_that_was_asked_for_never_overtakes_events() {
    const WRITES: i64 = 400;
    let served = serve().await;
    let mut client = Client::new(&served).await;
    let mut writer = Client::new(&served).await;
    client.create(prefix(0));
    assert!(client.next().await.created);
    let writing = tokio::spawn(async move {
        for write in 0..WRITES {
            writer.put(&format!("k{}", write % 7), "v").await;
        }
    });
    let (mut seen, mut told) = (1, 0);
    while seen < WRITES + 1 {
        client.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        let response = client.next().await;
        if response.events.is_empty() {
            let progress = response.header.expect("a header").revision;
            // Every revision is an event of this watch.
            assert!(seen >= progress, "{progress} was told after event {seen}");
            told += 1;
        }
        for revision in revisions(&response) {
            assert_eq!(revision, seen + 1, "events are dense and in order");
            seen = revision;
        }
    }
    writing.await.expect("the writer");
    assert!(told > 0, "no progress was told");
}

/// 17247: a transaction within a transaction was told twice.
#[tokio::test]
async fn what_a_transaction_within_a_transaction_does_is_told_once() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    client.create(prefix(0));
    assert!(client.next().await.created);
    let inner = pb::TxnRequest {
        compare: vec![pb::Compare {
            result: 1,
            target: 0,
            key: "k1".into(),
            target_union: Some(pb::compare::TargetUnion::Version(1)),
            ..Default::default()
        }],
        success: vec![put_op("k3", "then")],
        failure: vec![put_op("k3", "else")],
    };
    let nested = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestTxn(inner)),
    };
    let outer = pb::TxnRequest {
        success: vec![put_op("k1", "1"), nested, put_op("k2", "2")],
        ..Default::default()
    };
    client.kv.txn(outer).await.expect("a transaction");
    client.put("k9", "the next").await;
    let (first, second) = (client.next().await, client.next().await);
    assert_eq!(revisions(&first), [2, 2, 2]);
    let keys = first.events.iter().map(|event| {
        let kv = event.kv.as_ref().expect("a key");
        (kv.key.clone(), kv.version)
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    assert_eq!(
        keys,
        ["k1", "k2", "k3"].map(|key| (key.into(), 1)),
        "each is told once"
    );
    assert_eq!(revisions(&second), [3]);
}

/// 17529: a watch whose stream was starved lost events.
#[tokio::test]
async fn a_stream_that_nobody_reads_for_long_loses_nothing() {
    const WRITES: i64 = 1200;
    const WATCHES: usize = 3;
    let served = serve().await;
    let mut client = Client::new(&served).await;
    let mut writer = Client::new(&served).await;
    for _ in 0..WATCHES {
        client.create(prefix(0));
        assert!(client.next().await.created);
    }
    // Far more than the windows and buffers of a connection hold.
    let value = "x".repeat(8 << 10);
    for write in 0..WRITES {
        writer.put(&format!("k{}", write % 11), &value).await;
    }
    let mut seen = [1; WATCHES];
    while seen.iter().any(|seen| *seen < WRITES + 1) {
        let response = client.next().await;
        assert!(!response.canceled, "{}", response.cancel_reason);
        let watch = usize::try_from(response.watch_id).expect("an id of ours");
        for revision in revisions(&response) {
            assert_eq!(revision, seen[watch] + 1, "watch {watch}");
            seen[watch] = revision;
        }
    }
}

/// 18089 and 19179: a deletion at the very revision of a compaction was dropped.
#[tokio::test]
async fn a_deletion_at_the_revision_of_a_compaction_is_told() {
    for writes_after in [0, 2] {
        let served = serve().await;
        let mut client = Client::new(&served).await;
        client.put("k1", "1").await;
        client.delete("k1").await;
        for write in 0..writes_after {
            client.put("k2", &write.to_string()).await;
        }
        client.compact(3).await;
        client.create(prefix(3));
        assert!(client.next().await.created);
        let mut seen = Vec::new();
        while seen.len() < 1 + writes_after {
            let response = client.next().await;
            assert!(!response.canceled, "{}", response.cancel_reason);
            seen.extend(response.events);
        }
        let deletion = seen[0].kv.as_ref().expect("a key");
        assert_eq!((seen[0].r#type, deletion.mod_revision), (1, 3));
        assert_eq!(deletion.key, "k1");
    }
}

/// 18667: a transaction that read a compacted revision was applied in part, and
/// not on every member.
#[tokio::test]
async fn a_transaction_that_reads_a_compacted_revision_changes_nothing() {
    let served = serve().await;
    let mut client = Client::new(&served).await;
    for value in ["1", "2", "3"] {
        client.put("k1", value).await;
    }
    client.compact(3).await;
    let txn = pb::TxnRequest {
        success: vec![put_op("k2", "new"), range_op("k1", 2)],
        ..Default::default()
    };
    let refused = client.kv.txn(txn).await.expect_err("it is refused");
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    assert_eq!(
        refused.message(),
        "etcdserver: mvcc: required revision has been compacted"
    );
    let all = pb::RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    };
    let found = client.kv.range(all).await.expect("a range").into_inner();
    assert_eq!(
        (found.count, found.header.expect("a header").revision),
        (1, 4)
    );
}

/// 20221: a watch of the future was told what came before it.
#[tokio::test]
async fn a_watch_of_the_future_is_told_nothing_of_the_past() {
    let options = Options {
        progress_interval: Duration::from_millis(5),
        ..Options::default()
    };
    let served = serve_with(options).await;
    let mut client = Client::new(&served).await;
    client.create(pb::WatchCreateRequest {
        progress_notify: true,
        ..prefix(10)
    });
    assert!(client.next().await.created);
    let mut writer = Client::new(&served).await;
    for write in 0..11 {
        writer.put("k1", &write.to_string()).await;
    }
    let mut seen = Vec::new();
    let mut progress = 0;
    while seen.last() != Some(&12) {
        let response = client.next().await;
        let revision = response.header.as_ref().expect("a header").revision;
        assert!(revision >= progress, "the stream goes back");
        progress = revision;
        seen.extend(revisions(&response));
    }
    assert_eq!(seen, [10, 11, 12]);
}

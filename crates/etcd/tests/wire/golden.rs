//! The answers that etcd gives, status codes and texts included.

use crate::served::{Served, serve};
use bytes::Bytes;
use kontiki_etcd::pb::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use kontiki_etcd::pb::etcdserverpb::{self as pb, request_op::Request, response_op::Response};
use tonic::{Code, Status};

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn range(key: &'static str, revision: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.into(),
        revision,
        ..Default::default()
    }
}

fn txn(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest {
        success,
        ..Default::default()
    }
}

fn refused<T: std::fmt::Debug>(case: &str, result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err(case);
    assert_eq!((status.code(), status.message()), (code, text), "{case}");
}

/// A store whose key `a` was written at revisions 2 to 7 and compacted at 4.
async fn written() -> (Served, KvClient<tonic::transport::Channel>) {
    let served = serve().await;
    let mut kv = KvClient::new(served.channel.clone());
    for value in ["0", "1", "2", "3", "4", "5"] {
        kv.put(put("a", value)).await.expect("a put");
    }
    kv.compact(pb::CompactionRequest {
        revision: 4,
        physical: true,
    })
    .await
    .expect("a compaction");
    (served, kv)
}

#[tokio::test]
async fn refused_requests_have_etcds_codes_and_texts() {
    let (_served, mut kv) = written().await;
    let invalid = Code::InvalidArgument;
    refused(
        "empty key",
        kv.put(put("", "x")).await,
        invalid,
        "etcdserver: key is not provided",
    );
    refused(
        "empty key",
        kv.range(range("", 0)).await,
        invalid,
        "etcdserver: key is not provided",
    );
    let delete = pb::DeleteRangeRequest::default();
    refused(
        "empty key",
        kv.delete_range(delete).await,
        invalid,
        "etcdserver: key is not provided",
    );
    let ignore_value = pb::PutRequest {
        ignore_value: true,
        ..put("missing", "")
    };
    refused(
        "ignore_value, missing",
        kv.put(ignore_value).await,
        invalid,
        "etcdserver: key not found",
    );
    let ignore_value = pb::PutRequest {
        ignore_value: true,
        ..put("a", "x")
    };
    refused(
        "ignore_value, value",
        kv.put(ignore_value).await,
        invalid,
        "etcdserver: value is provided",
    );
    let ignore_lease = pb::PutRequest {
        ignore_lease: true,
        ..put("missing", "")
    };
    refused(
        "ignore_lease, missing",
        kv.put(ignore_lease).await,
        invalid,
        "etcdserver: key not found",
    );
    let ignore_lease = pb::PutRequest {
        ignore_lease: true,
        lease: 9,
        ..put("a", "")
    };
    refused(
        "ignore_lease, lease",
        kv.put(ignore_lease).await,
        invalid,
        "etcdserver: lease is provided",
    );
    let lease = pb::PutRequest {
        lease: 9,
        ..put("a", "")
    };
    refused(
        "unknown lease",
        kv.put(lease).await,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    let bad_sort = pb::RangeRequest {
        sort_order: 9,
        ..range("a", 0)
    };
    refused(
        "bad sort",
        kv.range(bad_sort).await,
        invalid,
        "etcdserver: invalid sort option",
    );
    let big = pb::PutRequest {
        key: "big".into(),
        value: vec![0; 1_600_000].into(),
        ..Default::default()
    };
    refused(
        "1.6 MB",
        kv.put(big).await,
        invalid,
        "etcdserver: request is too large",
    );
}

#[tokio::test]
async fn revisions_out_of_range_have_etcds_codes_and_texts() {
    let (_served, mut kv) = written().await;
    let (future, compacted) = (
        "etcdserver: mvcc: required revision is a future revision",
        "etcdserver: mvcc: required revision has been compacted",
    );
    refused(
        "future",
        kv.range(range("a", 99)).await,
        Code::OutOfRange,
        future,
    );
    refused(
        "compacted",
        kv.range(range("a", 3)).await,
        Code::OutOfRange,
        compacted,
    );
    let compact = |revision| pb::CompactionRequest {
        revision,
        physical: false,
    };
    refused(
        "again",
        kv.compact(compact(4)).await,
        Code::OutOfRange,
        compacted,
    );
    refused(
        "future",
        kv.compact(compact(99)).await,
        Code::OutOfRange,
        future,
    );
    let inside = txn(vec![
        op(Request::RequestPut(put("b", ""))),
        op(Request::RequestRange(range("a", 3))),
    ]);
    refused(
        "inside a transaction",
        kv.txn(inside).await,
        Code::OutOfRange,
        compacted,
    );
    for (revision, mod_revision, value) in [(4, 4, "2"), (-1, 7, "5"), (0, 7, "5")] {
        let response = kv
            .range(range("a", revision))
            .await
            .expect("it is readable")
            .into_inner();
        assert_eq!(response.count, 1);
        assert_eq!(
            (response.kvs[0].mod_revision, &response.kvs[0].value[..]),
            (mod_revision, value.as_bytes())
        );
        assert_eq!(response.header.expect("a header").revision, 7);
    }
}

#[tokio::test]
async fn transactions_are_checked_and_see_their_own_writes() {
    let (_served, mut kv) = written().await;
    let invalid = Code::InvalidArgument;
    let put_op = |key| op(Request::RequestPut(put(key, "v")));
    let duplicate = "etcdserver: duplicate key given in txn request";
    refused(
        "two puts",
        kv.txn(txn(vec![put_op("x"), put_op("x")])).await,
        invalid,
        duplicate,
    );
    let delete = pb::DeleteRangeRequest {
        key: "a".into(),
        range_end: "z".into(),
        prev_kv: false,
    };
    let both = txn(vec![put_op("x"), op(Request::RequestDeleteRange(delete))]);
    refused(
        "put in a deleted range",
        kv.txn(both).await,
        invalid,
        duplicate,
    );
    let many = txn((0..129)
        .map(|_| op(Request::RequestRange(range("a", 0))))
        .collect());
    refused(
        "129 operations",
        kv.txn(many).await,
        invalid,
        "etcdserver: too many operations in txn request",
    );
    let empty = txn(vec![pb::RequestOp::default()]);
    refused(
        "an empty operation",
        kv.txn(empty).await,
        invalid,
        "etcdserver: key not found",
    );

    let nothing = kv
        .txn(txn(Vec::new()))
        .await
        .expect("an empty transaction")
        .into_inner();
    assert!(nothing.succeeded && nothing.header.expect("a header").revision == 7);
    let own = txn(vec![
        put_op("tx"),
        op(Request::RequestRange(range("tx", 0))),
    ]);
    let own = kv.txn(own).await.expect("a transaction").into_inner();
    match &own.responses[1].response {
        Some(Response::ResponseRange(range)) => {
            assert_eq!(
                (
                    range.kvs[0].create_revision,
                    range.kvs[0].mod_revision,
                    range.kvs[0].version
                ),
                (8, 8, 1)
            );
            assert_eq!(range.header.expect("a header").revision, 8);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reads_and_deletions_of_nothing_do_not_move_the_revision() {
    let (_served, mut kv) = written().await;
    let delete = pb::DeleteRangeRequest {
        key: "missing".into(),
        ..Default::default()
    };
    let deleted = kv
        .delete_range(delete)
        .await
        .expect("a deletion")
        .into_inner();
    assert_eq!(
        (deleted.deleted, deleted.header.expect("a header").revision),
        (0, 7)
    );
    let delete = pb::DeleteRangeRequest {
        key: "a".into(),
        prev_kv: true,
        ..Default::default()
    };
    let deleted = kv
        .delete_range(delete)
        .await
        .expect("a deletion")
        .into_inner();
    assert_eq!((deleted.deleted, deleted.prev_kvs[0].version), (1, 6));
    assert_eq!(deleted.header.expect("a header").revision, 8);
    let inverted = pb::RangeRequest {
        range_end: "A".into(),
        ..range("a", 0)
    };
    let inverted = kv
        .range(inverted)
        .await
        .expect("an empty answer")
        .into_inner();
    assert_eq!((inverted.count, inverted.kvs.len()), (0, 0));
}

#[tokio::test]
async fn a_limit_cuts_the_answer_and_not_the_count() {
    let served = serve().await;
    let mut kv = KvClient::new(served.channel.clone());
    for key in ["k1", "k2", "k3"] {
        kv.put(put(key, "v")).await.expect("a put");
    }
    let request = pb::RangeRequest {
        range_end: Bytes::from_static(b"\0"),
        limit: 2,
        ..range("k", 0)
    };
    let response = kv
        .range(request.clone())
        .await
        .expect("a range")
        .into_inner();
    assert_eq!(
        (response.kvs.len(), response.more, response.count),
        (2, true, 3)
    );
    let counted = pb::RangeRequest {
        count_only: true,
        keys_only: true,
        ..request
    };
    let counted = kv.range(counted).await.expect("a range").into_inner();
    assert_eq!((counted.kvs.len(), counted.count), (0, 3));
}

#[tokio::test]
async fn leases_answer_as_etcds_do() {
    let (served, mut kv) = written().await;
    let mut lease = LeaseClient::new(served.channel.clone());
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    for ttl in [0, -5, 1] {
        let granted = lease
            .lease_grant(grant(0, ttl))
            .await
            .expect("a lease")
            .into_inner();
        assert!(granted.ttl == 2 && granted.id > 0, "{granted:?}");
    }
    let huge = lease.lease_grant(grant(0, 9_000_000_001)).await;
    refused(
        "huge",
        huge,
        Code::OutOfRange,
        "etcdserver: too large lease TTL",
    );
    assert_eq!(
        lease
            .lease_grant(grant(77, 100))
            .await
            .expect("a lease")
            .into_inner()
            .ttl,
        100
    );
    let again = lease.lease_grant(grant(77, 100)).await;
    refused(
        "again",
        again,
        Code::FailedPrecondition,
        "etcdserver: lease already exists",
    );
    let revoke = |id| pb::LeaseRevokeRequest { id };
    let missing = lease.lease_revoke(revoke(78)).await;
    refused(
        "missing",
        missing,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    let info = |id| pb::LeaseTimeToLiveRequest { id, keys: true };
    let missing = lease
        .lease_time_to_live(info(78))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!((missing.id, missing.ttl), (78, -1));

    for key in ["l1", "l2"] {
        kv.put(pb::PutRequest {
            lease: 77,
            ..put(key, "v")
        })
        .await
        .expect("a put");
    }
    let info = lease
        .lease_time_to_live(info(77))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(
        (info.granted_ttl, info.keys),
        (100, vec![Bytes::from("l1"), Bytes::from("l2")])
    );
    let asked = tokio_stream::iter([77, 78].map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut kept = lease
        .lease_keep_alive(asked)
        .await
        .expect("a stream")
        .into_inner();
    for expected in [(77, 100), (78, 0)] {
        let kept = kept.message().await.expect("an answer").expect("an answer");
        assert_eq!((kept.id, kept.ttl), expected);
    }
    let before = kv
        .range(range("a", 0))
        .await
        .expect("a range")
        .into_inner()
        .header
        .expect("a header")
        .revision;
    let revoked = lease
        .lease_revoke(revoke(77))
        .await
        .expect("a revocation")
        .into_inner();
    assert_eq!(
        revoked.header.expect("a header").revision,
        before + 1,
        "both keys go at one revision"
    );
    assert_eq!(
        kv.range(range("l1", 0))
            .await
            .expect("a range")
            .into_inner()
            .count,
        0
    );
}

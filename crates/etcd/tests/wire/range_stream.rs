//! A range in portions against the same range in one piece.

use crate::served::serve;
use kontiki_etcd::pb::etcdserverpb as pb;
use kontiki_etcd::pb::etcdserverpb::kv_client::KvClient;
use tonic::Code;

#[tokio::test]
async fn the_portions_of_a_stream_are_together_what_one_range_answers() {
    let served = serve().await;
    let mut kv = KvClient::new(served.channel.clone());
    for number in 0..300 {
        let put = pb::PutRequest {
            key: format!("k{number:03}").into(),
            value: vec![b'v'; 4096].into(),
            ..pb::PutRequest::default()
        };
        kv.put(put).await.expect("a put");
    }
    let all = || pb::RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..pb::RangeRequest::default()
    };
    let cases = [
        all(),
        pb::RangeRequest { limit: 70, ..all() },
        pb::RangeRequest {
            limit: 300,
            ..all()
        },
        pb::RangeRequest { limit: 64, ..all() },
        pb::RangeRequest {
            revision: 150,
            ..all()
        },
        pb::RangeRequest {
            count_only: true,
            ..all()
        },
        pb::RangeRequest {
            keys_only: true,
            ..all()
        },
        pb::RangeRequest {
            min_mod_revision: 200,
            ..all()
        },
        pb::RangeRequest {
            min_mod_revision: 200,
            limit: 90,
            ..all()
        },
        pb::RangeRequest {
            range_end: "\0".into(),
            ..all()
        },
        pb::RangeRequest {
            key: "k007".into(),
            range_end: "".into(),
            ..all()
        },
        pb::RangeRequest {
            key: "x".into(),
            range_end: "z".into(),
            ..all()
        },
        pb::RangeRequest {
            sort_order: 1,
            ..all()
        },
    ];
    for request in cases {
        let whole = kv
            .range(request.clone())
            .await
            .expect("a range")
            .into_inner();
        let mut parts = kv
            .range_stream(request.clone())
            .await
            .expect("a stream")
            .into_inner();
        let (mut merged, mut count) = (pb::RangeResponse::default(), 0);
        while let Some(part) = parts.message().await.expect("a part") {
            let part = part.range_response.expect("a response");
            assert!(
                merged.header.is_none(),
                "{request:?}: the header comes last"
            );
            merged.kvs.extend(part.kvs);
            merged.header = part.header;
            merged.count += part.count;
            merged.more |= part.more;
            count += 1;
        }
        assert_eq!(merged, whole, "{request:?}");
        if whole.kvs.len() > 64 {
            assert!(count > 1, "{request:?} came in one piece");
        }
    }
    for (request, code) in [
        (
            pb::RangeRequest {
                sort_order: 2,
                ..all()
            },
            Code::Unimplemented,
        ),
        (
            pb::RangeRequest {
                key: "".into(),
                ..all()
            },
            Code::InvalidArgument,
        ),
    ] {
        let refused = kv.range_stream(request).await.expect_err("refused");
        assert_eq!(refused.code(), code);
    }
    let future = pb::RangeRequest {
        revision: 900,
        ..all()
    };
    let mut parts = kv
        .range_stream(future)
        .await
        .expect("a stream")
        .into_inner();
    let refused = parts.message().await.expect_err("refused");
    assert_eq!(refused.code(), Code::OutOfRange);
}

//! A client of watches for the tests.

use crate::served::Served;
use kontiki_etcd::pb::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::pb::etcdserverpb::watch_client::WatchClient;
use kontiki_etcd::pb::etcdserverpb::{self as pb, watch_request::RequestUnion};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// A watch stream, and a client of keys beside it.
pub struct Client {
    pub kv: KvClient<tonic::transport::Channel>,
    requests: mpsc::UnboundedSender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Client {
    pub async fn new(served: &Served) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut watch = WatchClient::new(served.channel.clone());
        let responses = watch
            .watch(UnboundedReceiverStream::new(receiver))
            .await
            .expect("a stream")
            .into_inner();
        Self {
            kv: KvClient::new(served.channel.clone()),
            requests,
            responses,
        }
    }

    pub fn ask(&self, request: RequestUnion) {
        self.requests
            .send(pb::WatchRequest {
                request_union: Some(request),
            })
            .expect("the stream is open");
    }

    pub fn create(&self, create: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create));
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(10), self.responses.message()).await;
        next.expect("a response in time")
            .expect("a response")
            .expect("the stream goes on")
    }

    pub async fn put(&mut self, key: &str, value: &str) {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        self.kv
            .put(pb::PutRequest {
                key,
                value,
                ..Default::default()
            })
            .await
            .expect("a put");
    }

    pub async fn delete(&mut self, key: &str) {
        let key = key.to_owned().into();
        self.kv
            .delete_range(pb::DeleteRangeRequest {
                key,
                ..Default::default()
            })
            .await
            .expect("a deletion");
    }

    pub async fn compact(&mut self, revision: i64) {
        self.kv
            .compact(pb::CompactionRequest {
                revision,
                physical: true,
            })
            .await
            .expect("a compaction");
    }
}

pub fn from(key: &'static str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        start_revision,
        ..Default::default()
    }
}

pub fn revisions(response: &pb::WatchResponse) -> Vec<i64> {
    response
        .events
        .iter()
        .map(|event| event.kv.as_ref().expect("a key").mod_revision)
        .collect()
}

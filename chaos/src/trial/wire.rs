//! One member's etcd API, in the terms of the store and its checkers.
//!
//! **Invariant:** what cannot be told for certain is told as unknown: an error
//! counts as definite only if its text is one of etcd's definite ones.

use crate::members::{Members, View};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use kontiki_checker::{Request, Response};
use kontiki_etcd::pb::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::pb::etcdserverpb::{self as pb, compare, range_request, request_op, response_op};
use kontiki_etcd::pb::mvccpb;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind,
    Header, KeyValue, LeaseGrant, Op, OpResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, Revision, SortKey, SortOrder, StoreError, TxnRequest, TxnResponse,
};
use std::net::Ipv4Addr;
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use xtask::topology::ETCD_PORT;

const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// A connection over which nothing comes back for this long is given up.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);

/// A connection to one member, made when it is needed.
#[derive(Clone)]
pub(crate) struct Wire(Channel);

/// What a member holds up to a revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysHash {
    pub revision: Revision,
    pub compact_revision: Revision,
    pub hash: u32,
}

fn endpoint(address: Ipv4Addr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}:{ETCD_PORT}"))
        .expect("an address makes a URL")
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(SILENCE_MAX / 2)
        .keep_alive_timeout(SILENCE_MAX / 2)
        .keep_alive_while_idle(true)
}

impl Wire {
    pub(crate) fn new(address: Ipv4Addr) -> Self {
        Self(endpoint(address).connect_lazy())
    }

    /// To a member that asks for credentials.
    pub(crate) fn secure(address: Ipv4Addr, members: &Members) -> Self {
        let endpoint = endpoint(address);
        Self(kontiki_nodelink::channel::connect_lazy(
            &endpoint,
            members.tls(),
        ))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.0.clone()
    }

    /// Carries out a call.
    pub(crate) async fn call(&self, request: &Request) -> Result<Response, StoreError> {
        let called = match request {
            Request::Range(request) => self.range(request).await,
            Request::Txn(request) => self.txn(request).await,
            Request::Compact(revision) => self.compact(*revision).await,
            Request::Grant { id, ttl_seconds } => self.grant(*id, *ttl_seconds).await,
            Request::Revoke(id) => self.revoke(*id).await,
            Request::KeepAlive(id) => self.keep_alive(*id).await,
        };
        called.map_err(|status| error(&status))
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel())
    }

    async fn range(&self, request: &RangeRequest) -> Result<Response, Status> {
        let response = self.kv().range(to_range(request)).await?.into_inner();
        Ok(Response::Range(from_range(response)))
    }

    /// Plain writes go the way that plain writes go in etcd's API.
    async fn txn(&self, request: &TxnRequest) -> Result<Response, Status> {
        let alone = request.compare.is_empty() && request.failure.is_empty();
        let one = |header, response| {
            Response::Txn(TxnResponse {
                header,
                succeeded: true,
                responses: vec![response],
            })
        };
        match request.success.as_slice() {
            [Op::Put(put)] if alone => {
                let response = self.kv().put(to_put(put)).await?.into_inner();
                let header = from_header(response.header);
                Ok(one(header, OpResponse::Put(from_put(response.prev_kv))))
            }
            [Op::DeleteRange(delete)] if alone => {
                let response = self.kv().delete_range(to_delete(delete)).await?;
                let mut response = response.into_inner();
                let header = from_header(response.header.take());
                Ok(one(header, OpResponse::DeleteRange(from_delete(response))))
            }
            _ => {
                let response = self.kv().txn(to_txn(request)).await?.into_inner();
                Ok(Response::Txn(from_txn(response)))
            }
        }
    }

    async fn compact(&self, revision: Revision) -> Result<Response, Status> {
        let request = pb::CompactionRequest {
            revision,
            physical: false,
        };
        let response = self.kv().compact(request).await?.into_inner();
        Ok(Response::Header(from_header(response.header)))
    }

    async fn grant(&self, id: i64, ttl: i64) -> Result<Response, Status> {
        let request = pb::LeaseGrantRequest { ttl, id };
        let response = LeaseClient::new(self.channel())
            .lease_grant(request)
            .await?;
        let response = response.into_inner();
        Ok(Response::Lease(LeaseGrant {
            header: from_header(response.header),
            id: response.id,
            ttl_seconds: response.ttl,
        }))
    }

    async fn revoke(&self, id: i64) -> Result<Response, Status> {
        let request = pb::LeaseRevokeRequest { id };
        let response = LeaseClient::new(self.channel())
            .lease_revoke(request)
            .await?;
        Ok(Response::Header(from_header(response.into_inner().header)))
    }

    async fn keep_alive(&self, id: i64) -> Result<Response, Status> {
        let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let mut client = LeaseClient::new(self.channel());
        let mut answers = client.lease_keep_alive(requests).await?.into_inner();
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::unknown("the stream ended"))?;
        Ok(Response::Lease(LeaseGrant {
            header: from_header(answer.header),
            id: answer.id,
            ttl_seconds: answer.ttl,
        }))
    }

    /// How many leases there are.
    pub(crate) async fn leases(&self) -> Result<usize> {
        let mut client = LeaseClient::new(self.channel());
        let listed = client.lease_leases(pb::LeaseLeasesRequest {}).await?;
        Ok(listed.into_inner().leases.len())
    }

    pub(crate) fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }

    /// What the member says of itself, and the entry that it has applied.
    pub(crate) async fn view(&self) -> Result<(View, u64)> {
        let status = self.maintenance().status(pb::StatusRequest {}).await?;
        let status = status.into_inner();
        let header = status.header.unwrap_or_default();
        let view = View {
            member: header.member_id,
            leader: status.leader,
            term: status.raft_term,
            revision: header.revision,
        };
        Ok((view, status.raft_applied_index))
    }

    /// The hash of every version up to a revision; 0: the present one.
    pub(crate) async fn keys_hash(&self, revision: Revision) -> Result<KeysHash> {
        let request = pb::HashKvRequest { revision };
        let response = self.maintenance().hash_kv(request).await?.into_inner();
        Ok(KeysHash {
            revision: response.hash_revision,
            compact_revision: response.compact_revision,
            hash: response.hash,
        })
    }

    /// The hash of everything, if nothing was applied meanwhile, and where.
    pub(crate) async fn state_hash(&self) -> Result<(u64, u32)> {
        let (_, before) = self.view().await?;
        let hash = self.maintenance().hash(pb::HashRequest {}).await?;
        let (_, after) = self.view().await?;
        if before != after {
            return Err(anyhow!("entries were applied meanwhile"));
        }
        Ok((after, hash.into_inner().hash))
    }
}

/// The store's error of a status; anything but etcd's own texts is of unknown effect.
pub(crate) fn error(status: &Status) -> StoreError {
    let known = [
        StoreError::EmptyKey,
        StoreError::KeyNotFound,
        StoreError::TooManyOps,
        StoreError::DuplicateKey,
        StoreError::Compacted {
            compact_revision: 0,
        },
        StoreError::FutureRevision,
        StoreError::RequestTooLarge,
        StoreError::NoSpace,
        StoreError::LeaseNotFound,
        StoreError::LeaseExists,
        StoreError::NoLeader,
        StoreError::Timeout,
        StoreError::TimeoutLeaderFailure,
        StoreError::TooManyRequests,
        StoreError::Stopped,
    ];
    let mut known = known.into_iter();
    let found = known.find(|error| error.to_string() == status.message());
    found
        .unwrap_or_else(|| StoreError::Internal(format!("{}: {}", status.code(), status.message())))
}

pub(crate) fn from_header(header: Option<pb::ResponseHeader>) -> Header {
    let header = header.unwrap_or_default();
    Header {
        revision: header.revision,
        raft_term: header.raft_term,
    }
}

fn to_range(request: &RangeRequest) -> pb::RangeRequest {
    let order = match request.order {
        SortOrder::None => range_request::SortOrder::None,
        SortOrder::Ascend => range_request::SortOrder::Ascend,
        SortOrder::Descend => range_request::SortOrder::Descend,
    };
    let target = match request.sort_by {
        SortKey::Key => range_request::SortTarget::Key,
        SortKey::Version => range_request::SortTarget::Version,
        SortKey::Create => range_request::SortTarget::Create,
        SortKey::Mod => range_request::SortTarget::Mod,
        SortKey::Value => range_request::SortTarget::Value,
    };
    pb::RangeRequest {
        key: request.range.key.clone(),
        range_end: request.range.end.clone(),
        limit: request.limit,
        revision: request.revision,
        sort_order: order.into(),
        sort_target: target.into(),
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

fn to_put(put: &PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: put.key.clone(),
        value: put.value.clone(),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn to_delete(delete: &DeleteRangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: delete.range.key.clone(),
        range_end: delete.range.end.clone(),
        prev_kv: delete.prev_kv,
    }
}

fn to_txn(txn: &TxnRequest) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compare.iter().map(to_compare).collect(),
        success: txn.success.iter().map(to_op).collect(),
        failure: txn.failure.iter().map(to_op).collect(),
    }
}

fn to_op(op: &Op) -> pb::RequestOp {
    let request = match op {
        Op::Range(range) => request_op::Request::RequestRange(to_range(range)),
        Op::Put(put) => request_op::Request::RequestPut(to_put(put)),
        Op::DeleteRange(delete) => request_op::Request::RequestDeleteRange(to_delete(delete)),
        Op::Txn(txn) => request_op::Request::RequestTxn(to_txn(txn)),
    };
    pb::RequestOp {
        request: Some(request),
    }
}

fn to_compare(compare: &Compare) -> pb::Compare {
    use compare::TargetUnion as Union;
    let result = match compare.op {
        CompareOp::Equal => compare::CompareResult::Equal,
        CompareOp::Greater => compare::CompareResult::Greater,
        CompareOp::Less => compare::CompareResult::Less,
        CompareOp::NotEqual => compare::CompareResult::NotEqual,
    };
    let (target, union) = match &compare.target {
        CompareTarget::Version(version) => {
            (compare::CompareTarget::Version, Union::Version(*version))
        }
        CompareTarget::CreateRevision(revision) => (
            compare::CompareTarget::Create,
            Union::CreateRevision(*revision),
        ),
        CompareTarget::ModRevision(revision) => {
            (compare::CompareTarget::Mod, Union::ModRevision(*revision))
        }
        CompareTarget::Value(value) => (compare::CompareTarget::Value, Union::Value(value.clone())),
        CompareTarget::Lease(lease) => (compare::CompareTarget::Lease, Union::Lease(*lease)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.range.key.clone(),
        range_end: compare.range.end.clone(),
        target_union: Some(union),
    }
}

fn from_range(response: pb::RangeResponse) -> RangeResponse {
    RangeResponse {
        header: from_header(response.header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

fn from_put(prev_kv: Option<mvccpb::KeyValue>) -> PutResponse {
    PutResponse {
        prev_kv: prev_kv.map(key_value),
    }
}

fn from_delete(response: pb::DeleteRangeResponse) -> DeleteRangeResponse {
    DeleteRangeResponse {
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

fn from_txn(response: pb::TxnResponse) -> TxnResponse {
    let responses = response.responses.into_iter();
    TxnResponse {
        header: from_header(response.header),
        succeeded: response.succeeded,
        responses: responses
            .filter_map(|op| Some(from_op(op.response?)))
            .collect(),
    }
}

fn from_op(response: response_op::Response) -> OpResponse {
    match response {
        response_op::Response::ResponseRange(range) => OpResponse::Range(from_range(range)),
        response_op::Response::ResponsePut(put) => OpResponse::Put(from_put(put.prev_kv)),
        response_op::Response::ResponseDeleteRange(delete) => {
            OpResponse::DeleteRange(from_delete(delete))
        }
        response_op::Response::ResponseTxn(txn) => OpResponse::Txn(from_txn(txn)),
    }
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// An event as the checkers take it; `None` if it names no key.
pub(crate) fn event(event: mvccpb::Event) -> Option<Event> {
    let kind = match event.r#type() {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    Some(Event {
        kind,
        kv: key_value(event.kv?),
        prev_kv: event.prev_kv.map(key_value),
    })
}

/// A request to watch.
pub(crate) fn watch_request(request: &kontiki_store::WatchRequest) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: request.range.key.clone(),
        range_end: if request.range.is_one() {
            Bytes::new()
        } else {
            request.range.end.clone()
        },
        start_revision: request.start_revision,
        progress_notify: true,
        prev_kv: request.prev_kv,
        ..pb::WatchCreateRequest::default()
    };
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etcds_own_texts_make_an_error_definite() {
        for (error_seen, definite) in [
            (StoreError::NoLeader, true),
            (StoreError::FutureRevision, true),
            (StoreError::LeaseNotFound, true),
            (StoreError::Timeout, false),
            (StoreError::TimeoutLeaderFailure, false),
            (StoreError::Stopped, false),
        ] {
            let read = error(&kontiki_etcd::status(&error_seen));
            assert_eq!((&read, read.is_definite()), (&error_seen, definite));
        }
        let lost = error(&Status::unavailable("error trying to connect: refused"));
        assert!(!lost.is_definite());
    }

    #[test]
    fn a_transaction_keeps_every_part_on_its_way() {
        let put = PutRequest {
            key: "k".into(),
            value: "v".into(),
            lease: 7,
            prev_kv: true,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![Compare::mod_revision("k", 3)],
            success: vec![Op::Put(put)],
            failure: vec![Op::Txn(TxnRequest::default())],
        };
        let sent = to_txn(&txn);
        assert_eq!((sent.success.len(), sent.failure.len()), (1, 1));
        assert_eq!(
            sent.compare[0].target_union,
            Some(compare::TargetUnion::ModRevision(3))
        );
        let answer = pb::TxnResponse {
            succeeded: true,
            responses: vec![pb::ResponseOp {
                response: Some(response_op::Response::ResponsePut(pb::PutResponse {
                    prev_kv: Some(mvccpb::KeyValue {
                        key: "k".into(),
                        version: 2,
                        ..mvccpb::KeyValue::default()
                    }),
                    ..pb::PutResponse::default()
                })),
            }],
            ..pb::TxnResponse::default()
        };
        let read = from_txn(answer);
        let OpResponse::Put(put) = &read.responses[0] else {
            panic!("{read:?}")
        };
        assert_eq!(put.prev_kv.as_ref().map(|kv| kv.version), Some(2));
    }
}

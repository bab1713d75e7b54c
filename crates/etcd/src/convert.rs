//! Between the wire's messages and the store's types.

use crate::pb::etcdserverpb::{self as pb, compare, range_request, request_op, response_op};
use crate::pb::mvccpb;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind,
    Header, KeyRange, KeyValue, Op, OpResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, SortKey, SortOrder, StoreError, StoreStatus, TxnRequest, TxnResponse,
};

/// Who answers; joined with what the store says about each answer.
#[derive(Clone, Copy)]
pub(crate) struct Answerer {
    cluster_id: u64,
    member_id: u64,
}

impl Answerer {
    pub(crate) fn new(status: &StoreStatus) -> Self {
        Self {
            cluster_id: status.cluster_id,
            member_id: status.member_id,
        }
    }

    pub(crate) fn header(self, header: Header) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        })
    }

    pub(crate) fn range(self, response: RangeResponse) -> pb::RangeResponse {
        pb::RangeResponse {
            header: self.header(response.header),
            kvs: response.kvs.into_iter().map(key_value).collect(),
            more: response.more,
            count: response.count,
        }
    }

    pub(crate) fn put(self, header: Header, response: PutResponse) -> pb::PutResponse {
        pb::PutResponse {
            header: self.header(header),
            prev_kv: response.prev_kv.map(key_value),
        }
    }

    pub(crate) fn delete_range(
        self,
        header: Header,
        response: DeleteRangeResponse,
    ) -> pb::DeleteRangeResponse {
        pb::DeleteRangeResponse {
            header: self.header(header),
            deleted: response.deleted,
            prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
        }
    }

    pub(crate) fn txn(self, response: TxnResponse) -> pb::TxnResponse {
        let header = response.header;
        pb::TxnResponse {
            header: self.header(header),
            succeeded: response.succeeded,
            responses: response
                .responses
                .into_iter()
                .map(|op| self.op(header, op))
                .collect(),
        }
    }

    /// Inside a transaction etcd fills in no more than the revision.
    fn op(self, header: Header, response: OpResponse) -> pb::ResponseOp {
        let inner = Self {
            cluster_id: 0,
            member_id: 0,
        };
        let bare = |header: Header| Header {
            raft_term: 0,
            ..header
        };
        let response = match response {
            OpResponse::Range(mut range) => {
                range.header = bare(range.header);
                response_op::Response::ResponseRange(inner.range(range))
            }
            OpResponse::Put(put) => {
                response_op::Response::ResponsePut(inner.put(bare(header), put))
            }
            OpResponse::DeleteRange(delete) => {
                response_op::Response::ResponseDeleteRange(inner.delete_range(bare(header), delete))
            }
            OpResponse::Txn(mut txn) => {
                txn.header = bare(txn.header);
                response_op::Response::ResponseTxn(inner.txn(txn))
            }
        };
        pb::ResponseOp {
            response: Some(response),
        }
    }
}

pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

pub(crate) fn event(event: &Event) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv.clone())),
        prev_kv: event.prev_kv.clone().map(key_value),
    }
}

pub(crate) fn range(request: pb::RangeRequest) -> Result<RangeRequest, StoreError> {
    if request.key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    let order = match range_request::SortOrder::try_from(request.sort_order) {
        Ok(range_request::SortOrder::None) => SortOrder::None,
        Ok(range_request::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(range_request::SortOrder::Descend) => SortOrder::Descend,
        Err(_) => return Err(StoreError::InvalidSortOption),
    };
    let sort_by = match range_request::SortTarget::try_from(request.sort_target) {
        Ok(range_request::SortTarget::Key) => SortKey::Key,
        Ok(range_request::SortTarget::Version) => SortKey::Version,
        Ok(range_request::SortTarget::Create) => SortKey::Create,
        Ok(range_request::SortTarget::Mod) => SortKey::Mod,
        Ok(range_request::SortTarget::Value) => SortKey::Value,
        Err(_) => return Err(StoreError::InvalidSortOption),
    };
    Ok(RangeRequest {
        range: KeyRange {
            key: request.key,
            end: request.range_end,
        },
        limit: request.limit,
        revision: request.revision,
        order,
        sort_by,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

pub(crate) fn put(request: pb::PutRequest) -> PutRequest {
    PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> DeleteRangeRequest {
    let range = KeyRange {
        key: request.key,
        end: request.range_end,
    };
    DeleteRangeRequest {
        range,
        prev_kv: request.prev_kv,
    }
}

pub(crate) fn txn(request: pb::TxnRequest) -> Result<TxnRequest, StoreError> {
    Ok(TxnRequest {
        compare: request
            .compare
            .into_iter()
            .map(compare)
            .collect::<Result<_, _>>()?,
        success: request
            .success
            .into_iter()
            .map(op)
            .collect::<Result<_, _>>()?,
        failure: request
            .failure
            .into_iter()
            .map(op)
            .collect::<Result<_, _>>()?,
    })
}

fn op(op: pb::RequestOp) -> Result<Op, StoreError> {
    Ok(match op.request {
        Some(request_op::Request::RequestRange(request)) => Op::Range(range(request)?),
        Some(request_op::Request::RequestPut(request)) => Op::Put(put(request)),
        Some(request_op::Request::RequestDeleteRange(request)) => {
            Op::DeleteRange(delete_range(request))
        }
        Some(request_op::Request::RequestTxn(request)) => Op::Txn(txn(request)?),
        None => return Err(StoreError::KeyNotFound),
    })
}

/// An expected value of another kind than the target counts as absent, that is zero.
fn compare(request: pb::Compare) -> Result<Compare, StoreError> {
    use compare::TargetUnion as Union;
    let unknown = |_| StoreError::Internal("etcdserver: unknown compare".to_owned());
    let op = match compare::CompareResult::try_from(request.result).map_err(unknown)? {
        compare::CompareResult::Equal => CompareOp::Equal,
        compare::CompareResult::Greater => CompareOp::Greater,
        compare::CompareResult::Less => CompareOp::Less,
        compare::CompareResult::NotEqual => CompareOp::NotEqual,
    };
    let target = match (
        compare::CompareTarget::try_from(request.target).map_err(unknown)?,
        request.target_union,
    ) {
        (compare::CompareTarget::Version, Some(Union::Version(version))) => {
            CompareTarget::Version(version)
        }
        (compare::CompareTarget::Version, _) => CompareTarget::Version(0),
        (compare::CompareTarget::Create, Some(Union::CreateRevision(revision))) => {
            CompareTarget::CreateRevision(revision)
        }
        (compare::CompareTarget::Create, _) => CompareTarget::CreateRevision(0),
        (compare::CompareTarget::Mod, Some(Union::ModRevision(revision))) => {
            CompareTarget::ModRevision(revision)
        }
        (compare::CompareTarget::Mod, _) => CompareTarget::ModRevision(0),
        (compare::CompareTarget::Value, Some(Union::Value(value))) => CompareTarget::Value(value),
        (compare::CompareTarget::Value, _) => CompareTarget::Value(bytes::Bytes::new()),
        (compare::CompareTarget::Lease, Some(Union::Lease(lease))) => CompareTarget::Lease(lease),
        (compare::CompareTarget::Lease, _) => CompareTarget::Lease(0),
    };
    Ok(Compare {
        range: KeyRange {
            key: request.key,
            end: request.range_end,
        },
        op,
        target,
    })
}

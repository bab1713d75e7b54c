//! The KV service.

use crate::auth::{Credentials, refused};
use crate::convert;
use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::range_stream;
use crate::server::{Etcd, Responses};
use kontiki_store::{Access, Header, Op, OpResponse, RangeRequest, StoreError, TxnRequest};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, async_trait};

impl Etcd {
    /// Runs one operation as a transaction of its own.
    async fn alone(
        &self,
        credentials: &Credentials,
        op: Op,
    ) -> Result<(Header, OpResponse), Status> {
        let request = TxnRequest {
            success: vec![op],
            ..TxnRequest::default()
        };
        let response = self.run_txn(credentials, request).await?;
        let only = response.responses.into_iter().next();
        only.map(|only| (response.header, only))
            .ok_or_else(|| mismatch("nothing"))
    }
}

/// Metadata of an answer that was read without asking the leader, although the
/// caller wanted it asked: newer writes may have been acknowledged.
pub(crate) const STALE: &str = "kontiki-stale";

fn lacks_leader(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NoLeader | StoreError::Timeout | StoreError::TimeoutLeaderFailure
    )
}

fn mismatch(what: &str) -> Status {
    into_status(StoreError::Internal(format!(
        "the store answered {what} instead of the operation's response"
    )))
}

#[async_trait]
impl pb::kv_server::Kv for Etcd {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let permit = self.permit(&request)?;
        let request = convert::range(request.into_inner()).map_err(into_status)?;
        permit.keys(Access::Read, &request.range).map_err(refused)?;
        let stale = self.options.stale_reads.then(|| RangeRequest {
            serializable: true,
            ..request.clone()
        });
        match (self.store.range(request).await, stale) {
            (Ok(answer), _) => Ok(Response::new(self.answerer().range(answer))),
            (Err(error), Some(stale)) if lacks_leader(&error) => {
                let answer = self.store.range(stale).await.map_err(into_status)?;
                let mut answer = Response::new(self.answerer().range(answer));
                let yes = MetadataValue::from_static("true");
                answer.metadata_mut().insert(STALE, yes);
                Ok(answer)
            }
            (Err(error), _) => Err(into_status(error)),
        }
    }

    type RangeStreamStream = Responses<pb::RangeStreamResponse>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let permit = self.permit(&request)?;
        let request = convert::range(request.into_inner()).map_err(into_status)?;
        permit.keys(Access::Read, &request.range).map_err(refused)?;
        Ok(Response::new(range_stream::start(self.clone(), request)?))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let credentials = Credentials::of(&request);
        let put = Op::Put(convert::put(request.into_inner()));
        match self.alone(&credentials, put).await? {
            (header, OpResponse::Put(put)) => Ok(Response::new(self.answerer().put(header, put))),
            _ => Err(mismatch("something else")),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let delete = Op::DeleteRange(convert::delete_range(request.into_inner()));
        match self.alone(&credentials, delete).await? {
            (header, OpResponse::DeleteRange(delete)) => {
                Ok(Response::new(self.answerer().delete_range(header, delete)))
            }
            _ => Err(mismatch("something else")),
        }
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = convert::txn(request.into_inner()).map_err(into_status)?;
        let response = self.run_txn(&credentials, request).await?;
        Ok(Response::new(self.answerer().txn(response)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.permit(&request)?.known().map_err(refused)?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let header = self
            .store
            .compact(revision, physical)
            .await
            .map_err(into_status)?;
        Ok(Response::new(pb::CompactionResponse {
            header: self.answerer().header(header),
        }))
    }
}

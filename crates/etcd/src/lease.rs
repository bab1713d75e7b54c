//! The Lease service.

use crate::auth::refused;
use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::server::{Etcd, Responses};
use futures::StreamExt;
use kontiki_store::{Access, Header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// Keep-alive answers that wait for a slow client.
const ANSWERS_WAITING: usize = 16;

impl Etcd {
    fn local_header(&self) -> Option<pb::ResponseHeader> {
        let status = self.store.status();
        let status = status.borrow();
        let header = Header {
            revision: status.revision,
            raft_term: status.raft_term,
        };
        self.answerer().header(header)
    }

    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let kept = self.store.lease_keep_alive(id).await.map_err(into_status)?;
        let header = self.answerer().header(kept.header);
        Ok(pb::LeaseKeepAliveResponse {
            header,
            id,
            ttl: kept.ttl_seconds,
        })
    }
}

#[async_trait]
impl pb::lease_server::Lease for Etcd {
    type LeaseKeepAliveStream = Responses<pb::LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.permit(&request)?.known().map_err(refused)?;
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        let grant = self.store.lease_grant(id, ttl).await.map_err(into_status)?;
        let header = self.answerer().header(grant.header);
        Ok(Response::new(pb::LeaseGrantResponse {
            header,
            id: grant.id,
            ttl: grant.ttl_seconds,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let permit = self.permit(&request)?;
        let id = request.into_inner().id;
        self.permit_lease(&permit, Access::Write, id).await?;
        let header = self.store.lease_revoke(id).await.map_err(into_status)?;
        Ok(Response::new(pb::LeaseRevokeResponse {
            header: self.answerer().header(header),
        }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.permit(&request)?.known().map_err(refused)?;
        let mut requests = request.into_inner();
        let (answers, receiver) = mpsc::channel(ANSWERS_WAITING);
        let etcd = self.clone();
        // Ends with the client's side of the stream, or when the client is gone.
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let answer = etcd.keep_alive(request.id).await;
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let permit = self.permit(&request)?;
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        if keys {
            self.permit_lease(&permit, Access::Read, id).await?;
        }
        let info = self.store.lease_info(id, keys).await.map_err(into_status)?;
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: self.answerer().header(info.header),
            id,
            ttl: info.ttl_seconds,
            granted_ttl: info.granted_ttl_seconds,
            keys: info.keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.permit(&request)?.known().map_err(refused)?;
        let leases = self.store.leases().await.map_err(into_status)?;
        let leases = leases
            .into_iter()
            .map(|id| pb::LeaseStatus { id })
            .collect();
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: self.local_header(),
            leases,
        }))
    }
}

//! The Lock service: the order of keys under a name is the queue, and a lease
//! ends the turn of whoever is gone.

use crate::auth::Credentials;
use crate::error::into_status;
use crate::pb::v3lockpb as pb;
use crate::queue::Queue;
use crate::server::Etcd;
use bytes::Bytes;
use kontiki_store::{DeleteRangeRequest, KeyRange, Op, StoreError, TxnRequest};
use tonic::{Request, Response, Status, async_trait};

#[async_trait]
impl pb::lock_server::Lock for Etcd {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let credentials = Credentials::of(&request);
        let pb::LockRequest { name, lease } = request.into_inner();
        let queue = Queue::new(self, credentials, name);
        let place = queue.enter(lease, Bytes::new()).await?;
        let header = queue.wait_turn(&place).await?;
        Ok(Response::new(pb::LockResponse {
            header: self.answerer().header(header),
            key: place.key,
        }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let credentials = Credentials::of(&request);
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(into_status(StoreError::EmptyKey));
        }
        let delete = DeleteRangeRequest {
            range: KeyRange::one(key),
            prev_kv: false,
        };
        let txn = TxnRequest {
            success: vec![Op::DeleteRange(delete)],
            ..TxnRequest::default()
        };
        let response = self.run_txn(&credentials, txn).await?;
        Ok(Response::new(pb::UnlockResponse {
            header: self.answerer().header(response.header),
        }))
    }
}

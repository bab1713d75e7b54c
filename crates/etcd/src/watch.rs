//! The Watch service: many watches on one stream.
//!
//! One task a stream owns all of its watches, so everything that is sent is
//! sent in one order: a watch is announced before its events, and a progress
//! answer follows every event up to its revision.

mod session;

use crate::auth::Credentials;
use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::server::{Etcd, Responses};
use kontiki_store::StoreError;
use session::WatchSession;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// Responses that wait for a slow client; behind them each watch has its own buffer.
const RESPONSES_WAITING: usize = 16;

#[async_trait]
impl pb::watch_server::Watch for Etcd {
    type WatchStream = Responses<pb::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let wants_leader = request
            .metadata()
            .get("hasleader")
            .is_some_and(|value| value == "true");
        if wants_leader && self.store.status().borrow().leader_id == 0 {
            return Err(into_status(StoreError::NoLeader));
        }
        let (responses, receiver) = mpsc::channel(RESPONSES_WAITING);
        let credentials = Credentials::of(&request);
        let session = WatchSession::new(self.clone(), credentials, responses);
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

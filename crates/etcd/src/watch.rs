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
use kontiki_store::{StoreError, StoreStatus};
use session::WatchSession;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
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
        let (status, patience) = (self.store.status(), self.options.leader_patience);
        let abandoned = async move {
            if wants_leader {
                leader_lost(status, patience).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::spawn(session.run(request.into_inner(), abandoned));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Ends once nobody has led for longer than `patience`.
async fn leader_lost(mut status: watch::Receiver<StoreStatus>, patience: Duration) {
    loop {
        if status.wait_for(|seen| seen.leader_id == 0).await.is_err() {
            // The store is going down, and every stream with it.
            return std::future::pending().await;
        }
        let back = status.wait_for(|seen| seen.leader_id != 0);
        if tokio::time::timeout(patience, back).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_lost_only_if_nobody_takes_over_in_time() {
        let led_by = |leader_id| StoreStatus {
            leader_id,
            ..StoreStatus::default()
        };
        let (sender, status) = watch::channel(led_by(1));
        let lost = tokio::spawn(leader_lost(status, Duration::from_secs(3)));
        for _ in 0..3 {
            sender.send_replace(led_by(0));
            tokio::time::sleep(Duration::from_secs(2)).await;
            sender.send_replace(led_by(2));
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert!(!lost.is_finished());
        }
        sender.send_replace(led_by(0));
        lost.await.expect("it ends");
    }
}

//! Heartbeats to a peer over one stream that stays open.
//!
//! Most of what a call costs is its beginning and its end. Heartbeats are many,
//! small, and sent one after the other, each with its answer; read barriers wait
//! for them. A stream that is open all the time also breaks for certain when the
//! leader's process dies, which is what tells its followers (see `suspicion`).

use crate::peers::Client;
use crate::wire::{AppendRequest, AppendResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// An open stream. Whoever gives up waiting for an answer has to drop it: the
/// next answer would be taken for another heartbeat's.
pub(crate) struct Pulse {
    requests: mpsc::Sender<AppendRequest>,
    answers: Streaming<AppendResponse>,
}

impl Pulse {
    pub(crate) async fn open(mut client: Client) -> Result<Self, Status> {
        // One at a time is under way.
        let (requests, receiver) = mpsc::channel(1);
        let answers = client.append(ReceiverStream::new(receiver)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
        })
    }

    /// Sends a heartbeat and waits for its answer.
    pub(crate) async fn beat(&mut self, request: AppendRequest) -> Result<AppendResponse, Status> {
        let closed = || Status::unavailable("the peer closed the stream");
        self.requests.send(request).await.map_err(|_| closed())?;
        self.answers.message().await?.ok_or_else(closed)
    }
}

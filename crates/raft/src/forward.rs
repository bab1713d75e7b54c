//! The standing streams over which proposals reach the leader.

use crate::peers::{Lane, Peers};
use crate::replica::Proposed;
use crate::types::{PeerNode, Proposal};
use crate::wire::{ProposeRequest, propose_response};
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

const WAITING_MAX: usize = 64;
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

struct Forward {
    proposal: Proposal,
    answer: oneshot::Sender<Proposed>,
}

/// One stream to every leader there has been.
pub(crate) struct Forwarder {
    peers: Arc<Peers>,
    streams: Mutex<HashMap<u64, mpsc::Sender<Forward>>>,
}

impl Forwarder {
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        Self {
            peers,
            streams: Mutex::default(),
        }
    }

    pub(crate) async fn forward(
        &self,
        leader: u64,
        node: &PeerNode,
        proposal: Proposal,
    ) -> Proposed {
        let (answer, proposed) = oneshot::channel();
        let stream = self.stream(leader, node);
        if stream.send(Forward { proposal, answer }).await.is_err() {
            self.streams.lock().retain(|_, stream| !stream.is_closed());
            return Proposed::Refused;
        }
        proposed.await.unwrap_or(Proposed::Unknown)
    }

    fn stream(&self, leader: u64, node: &PeerNode) -> mpsc::Sender<Forward> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(&leader)
            && !stream.is_closed()
        {
            return stream.clone();
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run_stream(
            self.peers
                .client(leader, &node.peer_address, Lane::Proposals),
            receiver,
        ));
        streams.insert(leader, sender.clone());
        sender
    }
}

/// Ends with the connection; whatever was under way then is unknown.
async fn run_stream(mut client: crate::peers::Client, mut forwards: mpsc::Receiver<Forward>) {
    let (requests, receiver) = mpsc::channel(WAITING_MAX);
    let open = tokio::time::timeout(OPEN_TIMEOUT, client.propose(ReceiverStream::new(receiver)));
    let Ok(Ok(answers)) = open.await else { return };
    let mut answers = answers.into_inner();
    let mut under_way: BTreeMap<u64, oneshot::Sender<Proposed>> = BTreeMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            // The answers first: there are never more of them than requests.
            answer = answers.next() => {
                let Some(Ok(response)) = answer else { return };
                let proposed = match response.result() {
                    propose_response::Result::Committed => Proposed::Committed,
                    propose_response::Result::NotLeader => Proposed::Refused,
                    _ => Proposed::Unknown,
                };
                if let Some(answer) = under_way.remove(&response.sequence) {
                    let _ = answer.send(proposed);
                }
            }
            forward = forwards.recv() => {
                let Some(Forward { proposal, answer }) = forward else { return };
                number += 1;
                under_way.insert(number, answer);
                let crc32c = crc32c::crc32c(&proposal.0);
                let request = ProposeRequest { sequence: number, proposal: proposal.0, crc32c };
                if requests.send(request).await.is_err() {
                    return;
                }
            }
        }
    }
}

//! Read barriers: one question to the leader serves everybody who waits.
//!
//! The leader answers with its commit index after a quorum confirmed it. Its
//! lease is never trusted: an election after a broken connection goes past it.

use crate::peers::Lane;
use crate::replica::Replica;
use crate::wire::ReadIndexRequest;
use kontiki_store::{Revision, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Barriers that are served by one question.
const TOGETHER_MAX: usize = 16_384;

pub(crate) type Waiting = oneshot::Sender<Result<u64, StoreError>>;

/// Serves the barriers of this replica.
pub(crate) async fn run(replica: Arc<Replica>, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
        let answer = ask_until_answered(&replica, &mut waiting).await;
        for reader in waiting.drain(..) {
            let _ = reader.send(answer.clone());
        }
    }
}

async fn ask_until_answered(
    replica: &Replica,
    waiting: &mut Vec<Waiting>,
) -> Result<u64, StoreError> {
    let mut leader = replica.leader.clone();
    loop {
        let known = *leader.borrow_and_update();
        let answer = match known {
            Some(id) => tokio::select! {
                biased;
                answer = ask(replica, id) => answer,
                // A new leader will answer sooner than one that is gone.
                changed = leader.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(StoreError::Stopped),
                },
            },
            None => Err(StoreError::NoLeader),
        };
        if matches!(answer, Ok(_) | Err(StoreError::Stopped)) || replica.is_leaderless() {
            return answer;
        }
        waiting.retain(|reader| !reader.is_closed());
        if waiting.is_empty() {
            return answer;
        }
        tokio::select! {
            biased;
            changed = leader.changed() => if changed.is_err() {
                return Err(StoreError::Stopped);
            },
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

async fn ask(replica: &Replica, leader: u64) -> Result<u64, StoreError> {
    if leader == replica.id() {
        return replica.confirmed_index().await;
    }
    let node = replica.peer_node(leader);
    let mut client = replica
        .peers
        .client(leader, &node.peer_address, Lane::Control);
    match tokio::time::timeout(
        replica.round_trip_max(),
        client.read_index(ReadIndexRequest {}),
    )
    .await
    {
        Ok(Ok(answer)) => Ok(answer.into_inner().index),
        Ok(Err(_)) => Err(StoreError::NoLeader),
        Err(_) => Err(StoreError::Timeout),
    }
}

/// Waits until everything acknowledged before the call is applied here.
pub(crate) async fn barrier(replica: &Replica) -> Result<Revision, StoreError> {
    let deadline = Instant::now() + replica.config.limits.request_timeout;
    let failed = |error| {
        replica.metrics.read_indexes_failed.inc();
        Err(error)
    };
    let (reader, answer) = oneshot::channel();
    replica
        .reads
        .try_send(reader)
        .map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::TooManyRequests,
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
        })?;
    let index = match tokio::time::timeout_at(deadline, answer).await {
        Ok(Ok(Ok(index))) => index,
        Ok(Ok(Err(error))) => return failed(error),
        Ok(Err(_)) => return failed(StoreError::Stopped),
        Err(_) => return failed(StoreError::Timeout),
    };
    let mut applied = replica.applied.clone();
    match tokio::time::timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await {
        Ok(Ok(_)) => Ok(replica.content.revision()),
        Ok(Err(_)) => failed(StoreError::Stopped),
        Err(_) => failed(StoreError::Timeout),
    }
}

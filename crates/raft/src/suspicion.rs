//! A leader whose process died is replaced at once.
//!
//! Its connection breaks before any timeout passes. A follower that notices and
//! whose new connection is refused asks for votes right away, going past the
//! voters' lease on the leader as a leadership transfer does. Safety does not
//! rest on that lease: reads always ask a quorum.

use crate::replica::Replica;
use openraft::raft::TransferLeaderRequest;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Suspicions that wait; all name the same few members.
pub(crate) const WAITING_MAX: usize = 16;

pub(crate) async fn run(replica: Arc<Replica>, mut suspects: mpsc::Receiver<u64>) {
    while let Some(suspect) = suspects.recv().await {
        if replica.leader_now() == Some(suspect) {
            replace(&replica, suspect).await;
        }
        while suspects.try_recv().is_ok() {}
    }
}

async fn replace(replica: &Replica, dead: u64) {
    let vote = replica.vote();
    let voters: Vec<u64> = replica
        .voters()
        .into_iter()
        .filter(|id| *id != dead)
        .collect();
    let Some(rank) = voters.iter().position(|id| *id == replica.id()) else {
        return;
    };
    if !replica.peers.refuses(dead).await {
        return;
    }
    // One after the other, so that the votes are not split; the next in line
    // has its turn if the first was behind and got none.
    let turn = u32::try_from(rank).unwrap_or(u32::MAX);
    tokio::time::sleep(replica.config.timing.heartbeat.saturating_mul(turn)).await;
    if replica.vote() != vote || !vote.committed || vote.leader_id.voted_for != dead {
        return;
    }
    tracing::warn!(
        leader = dead,
        "the leader's process is gone; asking for votes"
    );
    let transfer = TransferLeaderRequest::new(vote, replica.id(), None);
    let asked = tokio::time::timeout(
        replica.round_trip_max(),
        replica.raft.handle_transfer_leader(transfer),
    )
    .await;
    if let Ok(Err(error)) = asked {
        tracing::warn!(%error, "could not ask for votes");
    }
}

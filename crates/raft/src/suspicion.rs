//! A leader whose process died is replaced at once.
//!
//! Its connection breaks before any timeout passes. A follower that notices and
//! whose new connection is refused looks which survivor's log reaches furthest
//! and has that one ask for votes right away, going past the voters' lease on
//! the leader as a leadership transfer does. Safety does not rest on that lease:
//! reads always ask a quorum.
//!
//! Every survivor comes to the same choice, and a choice made twice counts once:
//! a transfer names the vote that it ends.

use crate::formation::say_hello;
use crate::peers::Lane;
use crate::replica::Replica;
use crate::store::ReplicatedStore;
use crate::types::{LogIdT, VoteT};
use crate::wire;
use futures::future::join_all;
use openraft::raft::TransferLeaderRequest;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Suspicions that wait; all name the same few members.
pub(crate) const WAITING_MAX: usize = 16;
/// How often a successor is chosen before the ordinary timeouts are left to it.
/// More than one: a log may still grow by what was under way when it was asked.
const ROUNDS_MAX: u32 = 4;

pub(crate) async fn run(replica: Arc<Replica>, mut suspects: mpsc::Receiver<u64>) {
    while let Some(suspect) = suspects.recv().await {
        if replica.leader_now() == Some(suspect) {
            replace(&replica, suspect).await;
        }
        while suspects.try_recv().is_ok() {}
    }
}

impl ReplicatedStore {
    /// Whether the process of the other member with this name has certainly ended:
    /// its machine answers, and refuses connections to where it listens for peers.
    pub async fn has_ended(&self, name: &str) -> bool {
        let members = self.replica.members();
        let named = members.iter().find(|member| member.name == name);
        match named.map(|member| member.id) {
            Some(id) => id != self.replica.id() && self.replica.peers.refuses(id).await,
            None => false,
        }
    }
}

async fn replace(replica: &Replica, dead: u64) {
    if !replica.voters().contains(&replica.id()) || !replica.peers.refuses(dead).await {
        return;
    }
    for _ in 0..ROUNDS_MAX {
        let vote = replica.vote();
        if vote.committed && vote.leader_id.voted_for != dead {
            return;
        }
        let heir = successor(replica, dead).await;
        tracing::warn!(
            leader = dead,
            heir,
            "the leader's process is gone; the furthest log is to lead"
        );
        let asked = timeout(replica.round_trip_max(), ask_for_votes(replica, heir, vote));
        if let Ok(Err(reason)) = asked.await {
            tracing::warn!(heir, %reason, "it could not be had to ask for votes");
        }
        if has_new_leader(replica, dead).await {
            return;
        }
    }
}

/// The voter whose log reaches furthest of those that answer; of equals, the
/// one with the lowest id.
async fn successor(replica: &Replica, dead: u64) -> u64 {
    let others = replica
        .voters()
        .into_iter()
        .filter(|id| *id != dead && *id != replica.id());
    let asked = others.map(|id| async move {
        let answer = timeout(patience(replica), say_hello(replica, id)).await;
        let last = answer.ok()?.ok()?.last_log_id.map(LogIdT::from);
        Some((last, Reverse(id)))
    });
    let answers = join_all(asked).await;
    let own = (replica.last_log_id().await, Reverse(replica.id()));
    let furthest = answers.into_iter().flatten().chain([own]).max();
    furthest.map_or(replica.id(), |(_, Reverse(id))| id)
}

async fn ask_for_votes(replica: &Replica, heir: u64, vote: VoteT) -> Result<(), String> {
    if heir == replica.id() {
        let transfer = TransferLeaderRequest::new(vote, heir, None);
        let asked = replica.raft.handle_transfer_leader(transfer).await;
        return match asked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
    }
    let message = wire::TransferLeaderRequest {
        from_leader: Some(vote.into()),
        to: heir,
        last_log_id: None,
    };
    let mut client = replica.peers.client(heir, "", Lane::Control);
    let answer = client.transfer_leader(message).await;
    answer.map_err(|status| status.message().to_owned())?;
    Ok(())
}

/// Waits a moment for another leader than the dead one.
async fn has_new_leader(replica: &Replica, dead: u64) -> bool {
    let mut leader = replica.leader.clone();
    let elected = leader.wait_for(|leader| leader.is_some_and(|id| id != dead));
    let found = matches!(timeout(patience(replica), elected).await, Ok(Ok(_)));
    found
}

/// Longer than a healthy round trip, short beside an election's timeouts.
fn patience(replica: &Replica) -> Duration {
    replica.config.timing.heartbeat
}

//! What the parts of one replica share.

use crate::config::ReplicatedConfig;
use crate::corruption::Corruption;
use crate::identity::Identity;
use crate::lessor::Lessor;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::status::StatusBoard;
use crate::types::{LogIdT, PeerNode, StoredMembershipT, TypeConfig, VoteT};
use crate::upkeep::LeaderProposals;
use crate::waiters::Waiters;
use crate::watch;
use crate::wire;
use crate::workers::Workers;
use kontiki_mvcc::StateMachine;
use kontiki_store::StoreError;
use kontiki_wal::Wal;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::OneshotResponder;
use openraft::{Raft, RaftMetrics, ReadPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub(crate) type RaftT = Raft<TypeConfig, Machine>;

/// One member's parts.
pub(crate) struct Replica {
    pub config: ReplicatedConfig,
    pub identity: Identity,
    pub content: Arc<StateMachine>,
    pub raft: RaftT,
    pub wal: Wal,
    pub peers: Arc<Peers>,
    pub waiters: Arc<Waiters>,
    pub lessor: Arc<Lessor>,
    pub status: Arc<StatusBoard>,
    pub metrics: Arc<Metrics>,
    /// Index of the last entry that was applied here.
    pub applied: watch::Receiver<u64>,
    /// The leader as this member knows it.
    pub leader: watch::Receiver<Option<u64>>,
    /// Since when it has known none.
    pub leaderless_since: Mutex<Option<Instant>>,
    /// Whether this member takes part: see `formation`.
    pub admitted: watch::Sender<bool>,
    /// Read barriers that wait.
    pub reads: mpsc::Sender<oneshot::Sender<Result<u64, StoreError>>>,
    /// Members whose connection broke.
    pub suspects: mpsc::Sender<u64>,
    /// Held while the membership is being changed.
    pub readmission: Arc<tokio::sync::Mutex<()>>,
    /// Whether this process has noted that the membership agrees with the configuration.
    pub configured_noted: AtomicBool,
    /// What this member proposes as the leader.
    pub own: Arc<LeaderProposals>,
    pub workers: Workers,
    pub corruption: Corruption,
}

/// What became of a proposal that was handed to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proposed {
    Committed,
    /// Certainly not taken.
    Refused,
    /// Perhaps taken.
    Unknown,
}

impl Replica {
    pub(crate) fn id(&self) -> u64 {
        self.identity.member_id
    }

    pub(crate) fn raft_metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    pub(crate) fn membership(&self) -> Arc<StoredMembershipT> {
        self.raft
            .metrics()
            .borrow_watched()
            .membership_config
            .clone()
    }

    pub(crate) fn vote(&self) -> VoteT {
        self.raft.metrics().borrow_watched().vote
    }

    /// The leader as this member knows it now.
    pub(crate) fn leader_now(&self) -> Option<u64> {
        *self.leader.borrow()
    }

    /// Whether there has been no leader for so long that waiting for one is in vain.
    pub(crate) fn is_leaderless(&self) -> bool {
        let since = *self.leaderless_since.lock();
        since.is_some_and(|since| since.elapsed() >= self.config.leaderless_max)
    }

    /// Ends once that is so.
    pub(crate) async fn leaderless(&self) {
        loop {
            let since = *self.leaderless_since.lock();
            let until = since.unwrap_or_else(Instant::now) + self.config.leaderless_max;
            tokio::time::sleep_until(until).await;
            if self.is_leaderless() {
                return;
            }
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        *self.admitted.borrow()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.leader_now() == Some(self.id())
    }

    /// The end of the log; none if it is empty or the member is stopping.
    pub(crate) async fn last_log_id(&self) -> Option<LogIdT> {
        let last = self
            .raft
            .with_raft_state(|state| state.log_ids.last().copied());
        last.await.ok().flatten()
    }

    pub(crate) fn voters(&self) -> Vec<u64> {
        let mut voters: Vec<u64> = self.membership().membership().voter_ids().collect();
        voters.sort_unstable();
        voters.dedup();
        voters
    }

    /// A longer wait than any healthy round trip, shorter than a client's patience.
    pub(crate) fn round_trip_max(&self) -> Duration {
        self.config.timing.election_max * 2
    }

    pub(crate) fn peer_node(&self, id: u64) -> PeerNode {
        self.membership()
            .membership()
            .get_node(&id)
            .cloned()
            .unwrap_or_default()
    }

    /// This member as it shows itself to others.
    pub(crate) fn own_member(&self) -> wire::Member {
        wire::Member {
            id: self.id(),
            name: self.config.name.clone(),
            peer_address: self.config.own_address(),
            client_urls: self.config.client_urls.clone(),
            disk_id: self.identity.disk_id,
            voter: self.voters().contains(&self.id()),
        }
    }

    /// Takes over the addresses of the newest membership known here.
    pub(crate) fn learn_addresses(&self) {
        let membership = self.membership();
        let nodes = membership.membership().nodes();
        self.peers.learn(
            nodes
                .map(|(id, node)| (*id, node.peer_address.clone()))
                .collect(),
        );
    }

    /// The members of the newest membership known here.
    pub(crate) fn members(&self) -> Vec<wire::Member> {
        let membership = self.membership();
        let voters = self.voters();
        let members = membership
            .membership()
            .nodes()
            .map(|(id, node)| wire::Member {
                id: *id,
                name: node.name.clone(),
                peer_address: node.peer_address.clone(),
                client_urls: node.client_urls.clone(),
                disk_id: node.disk_id,
                voter: voters.contains(id),
            });
        members.collect()
    }

    /// Hands a proposal to this member as the leader.
    pub(crate) async fn propose_here(&self, proposal: crate::types::Proposal) -> Proposed {
        let (responder, answer) = OneshotResponder::new_pair();
        if self
            .raft
            .client_write_ff(proposal, Some(responder))
            .await
            .is_err()
        {
            return Proposed::Unknown;
        }
        match answer.await {
            Ok(Ok(_)) => Proposed::Committed,
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) | Err(_) => Proposed::Unknown,
            Ok(Err(_)) => Proposed::Refused,
        }
    }

    /// The commit index, after a quorum confirmed that this member leads.
    pub(crate) async fn confirmed_index(&self) -> Result<u64, StoreError> {
        let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        match tokio::time::timeout(self.round_trip_max(), confirmed).await {
            Ok(Ok(linearizer)) => Ok(linearizer.read_log_id().index()),
            Ok(Err(RaftError::Fatal(_))) => Err(StoreError::Stopped),
            Ok(Err(RaftError::APIError(_))) => Err(StoreError::NoLeader),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

//! What a replica does by itself: follow the consensus, end leases, forget old
//! history and old log.

use crate::members;
use crate::metrics::set;
use crate::position::Position;
use crate::proposer::Proposer;
use crate::replica::{Proposed, Replica};
use crate::types::Proposal;
use crate::watch;
use bytes::Bytes;
use kontiki_mvcc::{Command, encode_batch};
use kontiki_store::{Alarm, AlarmKind};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Entries kept for lagging members when the log is larger than it should be.
const ENTRIES_KEPT_WHEN_LARGE: u64 = 100;

/// How often a leader looks whether it still hears a quorum.
const QUORUM_LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Whether a leader that leads since then still has a quorum behind it. One that
/// has none does not call itself the leader: nothing that it takes can be done.
fn has_quorum(replica: &Replica, since: Instant) -> bool {
    let patience = replica.round_trip_max() * 2;
    since.elapsed() < patience || members::quorum_answered(replica, &replica.voters(), patience)
}

/// Follows the consensus: leader, term, commit index, and who is the lessor.
pub(crate) async fn follow(replica: Arc<Replica>, leader: watch::Sender<Option<u64>>) {
    let mut raft = replica.raft.metrics();
    let mut elected_at = None;
    loop {
        replica.learn_addresses();
        let now = raft.borrow_watched().clone();
        let before = *leader.borrow();
        let elected = now.state == ServerState::Leader;
        elected_at = elected.then(|| elected_at.unwrap_or_else(Instant::now));
        let leads = elected_at.is_some_and(|since| has_quorum(&replica, since));
        let known = if leads {
            Some(replica.id())
        } else {
            now.current_leader.filter(|id| *id != replica.id())
        };
        if known != before {
            if known.is_some() {
                replica.metrics.leader_changes.inc();
                tracing::info!(
                    leader = known,
                    term = now.current_term,
                    "the leader changed"
                );
            }
            if before == Some(replica.id()) {
                replica.lessor.demote();
            }
            *replica.leaderless_since.lock() = match known {
                Some(_) => None,
                None => Some(Instant::now()),
            };
            leader.send_replace(known);
            if known == Some(replica.id()) {
                tokio::spawn(become_lessor(replica.clone(), now.current_term));
            }
        }
        let committed = now
            .cluster_committed
            .or(now.local_committed)
            .map_or(0, |id| id.index);
        let learner = now.state == ServerState::Learner;
        replica.status.update(|status| {
            status.leader_id = known.unwrap_or(0);
            status.raft_term = now.current_term;
            status.raft_index = status.raft_index.max(committed);
            status.is_learner = learner;
        });
        let stopped = now.running_state.as_ref().err().map(ToString::to_string);
        replica.status.trouble("consensus", stopped);
        replica.metrics.has_leader.set(i64::from(known.is_some()));
        replica.metrics.is_leader.set(i64::from(leads));
        replica.metrics.is_learner.set(i64::from(learner));
        set(&replica.metrics.proposals_committed, committed);
        set(
            &replica.metrics.proposals_applied,
            now.last_applied.map_or(0, |id| id.index),
        );
        tokio::select! {
            biased;
            changed = raft.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(QUORUM_LOOKED_AT_EVERY), if elected => {}
        }
    }
}

/// Once everything of earlier leaders is applied, this leader keeps the leases.
async fn become_lessor(replica: Arc<Replica>, term: u64) {
    while replica.is_leader() && replica.raft_metrics().current_term == term {
        if let Ok(index) = replica.confirmed_index().await {
            let mut applied = replica.applied.clone();
            if applied.wait_for(|applied| *applied >= index).await.is_ok() && replica.is_leader() {
                replica.lessor.promote(&replica.content);
                // Checked again: a demotion may have come between.
                if !replica.is_leader() {
                    replica.lessor.demote();
                }
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Notes when everything that was committed before the start is applied.
pub(crate) async fn await_recovery(replica: Arc<Replica>) {
    if replica.raft.wait_for_recovery(None).await.is_ok() {
        replica.status.update(|status| status.recovered = true);
        tracing::info!(revision = replica.content.revision(), "recovered");
    }
}

/// Proposals of this member as the leader itself. They are never forwarded: a
/// decision that only a leader may take must not outlive its leadership.
pub(crate) struct LeaderProposals {
    sequence: AtomicU64,
    boot: u64,
}

/// The member number under which a leader's own proposals are remembered.
const LEADER_BIT: u64 = 1 << 63;

impl LeaderProposals {
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            sequence: AtomicU64::new(1),
            boot,
        }
    }

    pub(crate) async fn propose(&self, replica: &Replica, commands: &[Command]) -> bool {
        let origin = crate::types::Origin {
            member: replica.id() ^ LEADER_BIT,
            boot: self.boot.max(replica.waiters.origin(0).boot),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        };
        let commands: Bytes = encode_batch(commands);
        let proposed = replica.propose_here(Proposal::new(origin, "", &commands));
        let proposed = tokio::time::timeout(replica.config.limits.request_timeout, proposed).await;
        proposed == Ok(Proposed::Committed)
    }
}

/// Ends leases whose time is over.
pub(crate) async fn end_leases(replica: Arc<Replica>) {
    let proposals = replica.own.clone();
    loop {
        let expired = replica.lessor.next_expired().await;
        tracing::debug!(?expired, "leases have ended");
        let commands: Vec<Command> = expired
            .iter()
            .map(|id| Command::LeaseRevoke { id: *id })
            .collect();
        if proposals.propose(&replica, &commands).await {
            replica.metrics.leases_expired.inc_by(expired.len() as u64);
        }
    }
}

/// As kube-apiserver does with etcd: every `interval`, forgets what is older
/// than `interval`.
pub(crate) async fn compact(replica: Arc<Replica>, interval: Duration) {
    let mut before = replica.content.revision();
    loop {
        tokio::time::sleep(interval).await;
        let now = replica.content.revision();
        if replica.is_leader() && before > replica.content.compact_revision() && before > 1 {
            tracing::info!(revision = before, "compacting history");
            replica
                .own
                .propose(&replica, &[Command::Compact { revision: before }])
                .await;
        }
        before = now;
    }
}

/// Index of the last entry that the state machine would have after a crash.
async fn durable_index(replica: &Replica) -> Result<u64, std::io::Error> {
    let content = replica.content.clone();
    let meta = replica.workers.run(move || content.durable_meta()).await?;
    let meta = meta.map_err(std::io::Error::other)?;
    let position = Position::decode(meta)?;
    Ok(position.applied.map_or(0, |id| id.index))
}

/// Keeps the log short: makes the state machine durable, then purges what it holds.
pub(crate) async fn shorten_log(replica: Arc<Replica>) {
    let limits = replica.config.limits;
    let mut asked_at = 0;
    loop {
        tokio::time::sleep(limits.log_check_every).await;
        let health = replica.wal.health();
        set(&replica.metrics.wal_bytes, health.bytes);
        replica.status.trouble(
            "write-ahead log",
            health.trouble.map(|trouble| trouble.to_string()),
        );
        if let Some(damage) = replica.content.engine_damage() {
            replica.corruption.note(&damage);
            replica.status.trouble("engine", Some(damage));
        }
        let size = replica.content.size();
        set(&replica.metrics.db_total_size, size.total_bytes);
        set(&replica.metrics.db_in_use, size.live_bytes);
        replica.status.update(|status| {
            status.db_size_bytes = size.total_bytes;
            status.db_size_in_use_bytes = size.live_bytes;
        });

        let metrics = replica.raft_metrics();
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        // Not openraft's newest snapshot: at a start that is what was replayed
        // into memory, and the log may be the only durable home of that.
        let durable = match durable_index(&replica).await {
            Ok(durable) => durable,
            Err(error) => {
                tracing::error!(%error, "the state machine's durable position cannot be read; the log is kept whole");
                continue;
            }
        };
        let large = health.bytes > limits.log_bytes_max;
        let due = applied.saturating_sub(durable) > limits.log_entries_max
            || (large && applied > asked_at);
        if due && asked_at < applied {
            asked_at = applied;
            if replica.raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
        let kept = if large {
            ENTRIES_KEPT_WHEN_LARGE
        } else {
            limits.log_entries_kept
        };
        let upto = durable.saturating_sub(kept);
        if upto > metrics.purged.map_or(0, |id| id.index)
            && replica.raft.trigger().purge_log(upto).await.is_err()
        {
            return;
        }
    }
}

/// Raises this member's alarm while its quota is used up, and ends it by
/// itself when there is space again.
pub(crate) async fn watch_quota(replica: Arc<Replica>, proposer: Proposer, quota_bytes: u64) {
    let alarm = Alarm {
        member_id: replica.id(),
        kind: AlarmKind::NoSpace,
    };
    replica
        .status
        .update(|status| status.db_quota_bytes = quota_bytes);
    loop {
        tokio::time::sleep(replica.config.limits.log_check_every).await;
        let used = replica.content.size().live_bytes;
        let (on, full) = (
            replica.content.alarms().contains(&alarm),
            used > quota_bytes,
        );
        if on == full || replica.leader_now().is_none() {
            continue;
        }
        tracing::warn!(used, quota_bytes, full, "the quota");
        if let Err(error) = proposer.propose(Command::alarm(alarm, full), None).await {
            tracing::debug!(%error, "the alarm waits for a leader");
        }
    }
}

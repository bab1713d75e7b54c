//! A member that lost entries which it had acknowledged does not go on.
//!
//! It happens when a disk says that it has synced what it has not. The member
//! comes back with a log that is whole and too short. It may have been counted
//! for the commit of what it lost, so it must neither vote nor be counted again:
//! its disk is as good as lost. The consensus library would wait for it for
//! ever, because a log that goes back is against its rules.
//!
//! The leader remembers how far each disk has acknowledged to it, and says so at
//! the beginning of every stream; the member compares.

use crate::identity::Identity;
use crate::replica::Replica;
use crate::types::{LogIdT, VoteT};
use crate::wire;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tonic::Status;

/// Why a member that lost entries does not start.
pub(crate) const REASON: &str = "the log has lost entries that this member had acknowledged, so its disk does not keep what it says it has synced";
const TROUBLE: &str = "lost entries";

/// A member and its disk.
type Disk = (u64, u64);

/// How far each disk has acknowledged to this member as the leader.
#[derive(Default)]
pub(crate) struct Acknowledged(Mutex<BTreeMap<Disk, (VoteT, LogIdT)>>);

impl Acknowledged {
    /// Notes that the disk holds everything up to `log_id` of the leader with `vote`.
    pub(crate) fn note(&self, disk: Disk, vote: VoteT, log_id: LogIdT) {
        let mut known = self.0.lock();
        let entry = known.entry(disk).or_insert((vote, log_id));
        if entry.0 != vote {
            // What it held under an earlier leader may have been cut off since.
            *entry = (vote, log_id);
        }
        entry.1 = entry.1.max(log_id);
    }

    /// What the disk has acknowledged to the leader with `vote`.
    pub(crate) fn to(&self, disk: Disk, vote: VoteT) -> Option<wire::Acknowledged> {
        let known = self.0.lock();
        let (of, log_id) = known.get(&disk)?;
        (*of == vote).then(|| wire::Acknowledged {
            disk_id: disk.1,
            log_id: Some((*log_id).into()),
        })
    }
}

/// Refuses a stream by whose beginning this member learns that it lost entries.
pub(crate) async fn check(replica: &Replica, first: &wire::AppendRequest) -> Result<(), Status> {
    let Some(acknowledged) = &first.acknowledged else {
        return Ok(());
    };
    let due = LogIdT::from(acknowledged.log_id.unwrap_or_default());
    let leader = VoteT::from(first.vote.unwrap_or_default());
    // What came from a leader that was replaced may have been cut off.
    if acknowledged.disk_id != replica.identity.disk_id || replica.vote() > leader {
        return Ok(());
    }
    // Asked after the vote was looked at: a newer leader cuts nothing off before
    // its vote is taken.
    let last = replica
        .raft
        .with_raft_state(|state| state.log_ids.last().copied());
    // One that has stopped knows nothing of its log any more.
    let Ok(found) = last.await else { return Ok(()) };
    if found >= Some(due) || replica.vote() > leader {
        return Ok(());
    }
    tracing::error!(?found, %due, "{REASON}");
    let told = format!(
        "{REASON}: it goes no further than {found:?} and had acknowledged {due}; move the data directory away and start this member again: it is rebuilt from its peers"
    );
    let forsaken = Identity {
        lost: true,
        ..replica.identity.clone()
    };
    // On disk before anybody is told, so that no later start can forget it.
    if let Err(error) = forsaken.save(&replica.wal).await {
        tracing::error!(%error, "could not note that entries were lost");
    }
    replica.corruption.note(&told);
    replica.status.trouble(TROUBLE, Some(told.clone()));
    let _ = replica.raft.shutdown().await;
    Err(Status::failed_precondition(told))
}

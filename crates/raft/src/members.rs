//! Changing the membership while the cluster runs: the leader's side.
//!
//! Ids are identity and never used again; addresses are data. What is known of
//! a member beyond the membership lies in the cluster's own data: that it was
//! added and whether it is to vote by itself, or that it was removed. A member
//! is always added as a learner, so adding one never costs the quorum.
//! The reasoning is in `docs/decisions/0010-membership-lives-in-the-log.md`.

use crate::replica::Replica;
use crate::types::PeerNode;
use crate::wire;
use kontiki_mvcc::Command;
use kontiki_store::{Member, MemberChange, MemberError};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::Status;

/// A learner this close to the leader's end may vote.
const CAUGHT_UP_ENTRIES: u64 = 1_000;
const ADDED: &[u8] = b"member/";
const REMOVED: &[u8] = b"removed/";
const VOTES: &[u8] = b"voter";
const STAYS_LEARNER: &[u8] = b"learner";

/// What a change answers: the member it was about, and all members.
pub(crate) type Changed = Result<(wire::Member, Vec<wire::Member>), MemberError>;

type RaftChange = ChangeMembers<u64, PeerNode>;

fn item(prefix: &[u8], id: u64) -> bytes::Bytes {
    [prefix, &id.to_be_bytes()].concat().into()
}

/// Whether the member was removed for good.
pub(crate) fn was_removed(replica: &Replica, id: u64) -> bool {
    replica.content.cluster_get(&item(REMOVED, id)).is_some()
}

/// Whether the member belongs to the cluster, perhaps without its disk right now.
pub(crate) fn belongs(replica: &Replica, id: u64) -> bool {
    let added = replica.content.cluster_get(&item(ADDED, id)).is_some();
    !was_removed(replica, id) && (added || replica.peers.is_configured(id))
}

/// Whether a learner votes as soon as it has caught up.
pub(crate) fn votes_by_itself(replica: &Replica, id: u64) -> bool {
    let added = replica.content.cluster_get(&item(ADDED, id));
    added.as_deref() != Some(STAYS_LEARNER)
}

/// Whether the leader knows that the member holds nearly everything.
pub(crate) fn caught_up(replica: &Replica, id: u64) -> bool {
    let metrics = replica.raft_metrics();
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|replication| replication.get(&id).cloned().flatten());
    let last = metrics.last_log_index.unwrap_or(0);
    matched.is_some_and(|matched| last.saturating_sub(matched.index) <= CAUGHT_UP_ENTRIES)
}

/// Carries out a change as the leader. `Err`: this member does not lead, or
/// cannot tell what became of it.
pub(crate) async fn change(replica: &Replica, change: MemberChange) -> Result<Changed, Status> {
    if !replica.is_leader() || replica.confirmed_index().await.is_err() {
        return Err(Status::unavailable("this member does not lead"));
    }
    let Ok(_busy) = replica.readmission.clone().try_lock_owned() else {
        return Ok(Err(MemberError::Busy));
    };
    let changed = match change {
        MemberChange::Add {
            peer_address,
            learner,
        } => add(replica, peer_address, learner).await,
        MemberChange::Remove { id } => remove(replica, id).await,
        MemberChange::Readdress { id, peer_address } => readdress(replica, id, peer_address).await,
        MemberChange::Promote { id } => promote(replica, id).await,
    };
    match changed {
        Ok(member) => Ok(Ok((member, replica.members()))),
        Err(Failed::Refused(error)) => Ok(Err(error)),
        Err(Failed::Unknown(status)) => Err(status),
    }
}

enum Failed {
    Refused(MemberError),
    Unknown(Status),
}

impl From<MemberError> for Failed {
    fn from(error: MemberError) -> Self {
        Self::Refused(error)
    }
}

fn find(replica: &Replica, id: u64) -> Result<wire::Member, MemberError> {
    let members = replica.members().into_iter();
    members
        .into_iter()
        .find(|member| member.id == id)
        .ok_or(MemberError::NotFound)
}

fn refuse_twice(replica: &Replica, id: u64, address: &str) -> Result<(), MemberError> {
    let same = |member: &wire::Member| member.id != id && member.peer_address == address;
    if replica.members().iter().any(same) {
        return Err(MemberError::AddressExists);
    }
    Ok(())
}

async fn note(replica: &Replica, commands: &[Command]) -> Result<(), Failed> {
    if replica.own.propose(replica, commands).await {
        Ok(())
    } else {
        Err(Failed::Unknown(Status::unavailable(
            "the leader lost its lead",
        )))
    }
}

async fn apply(replica: &Replica, change: RaftChange, retain: bool) -> Result<(), Failed> {
    match replica.raft.change_membership(change, retain).await {
        Ok(_) => {
            replica.learn_addresses();
            Ok(())
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        ))) => Err(MemberError::Busy.into()),
        Err(error) => Err(Failed::Unknown(Status::unavailable(error.to_string()))),
    }
}

async fn add(replica: &Replica, address: String, learner: bool) -> Result<wire::Member, Failed> {
    refuse_twice(replica, 0, &address)?;
    let id = loop {
        let id = crate::random::member_id();
        if find(replica, id).is_err() && !was_removed(replica, id) {
            break id;
        }
    };
    let stays = learner || !replica.config.auto_promote;
    let value = if stays { STAYS_LEARNER } else { VOTES };
    let added = Command::ClusterPut {
        key: item(ADDED, id),
        value: bytes::Bytes::from_static(value),
    };
    note(replica, &[added]).await?;
    // Name, disk and client addresses come with the member itself.
    let node = PeerNode {
        peer_address: address,
        ..PeerNode::default()
    };
    apply(
        replica,
        ChangeMembers::AddNodes(BTreeMap::from([(id, node)])),
        true,
    )
    .await?;
    tracing::info!(member = id, "a member was added; it has yet to be started");
    Ok(find(replica, id)?)
}

async fn remove(replica: &Replica, id: u64) -> Result<wire::Member, Failed> {
    let member = find(replica, id)?;
    if member.voter {
        let voters = replica.voters();
        if voters.len() == 1 {
            return Err(MemberError::LastVoter.into());
        }
        let left: Vec<u64> = voters.into_iter().filter(|voter| *voter != id).collect();
        if replica.config.strict_reconfig && !quorum_lives(replica, &left).await {
            return Err(MemberError::NotEnoughStarted.into());
        }
    }
    if id == replica.id() {
        // Its successor removes it: a leader that left could not say that it did.
        return match step_aside(replica).await {
            true => Err(Failed::Unknown(Status::unavailable(
                "another member leads now",
            ))),
            false => Err(MemberError::TransferTimeout.into()),
        };
    }
    let removed = [
        Command::ClusterPut {
            key: item(REMOVED, id),
            value: bytes::Bytes::from(member.peer_address.clone()),
        },
        Command::ClusterDelete {
            key: item(ADDED, id),
        },
    ];
    note(replica, &removed).await?;
    let ids = BTreeSet::from([id]);
    let change = if member.voter {
        ChangeMembers::RemoveVoters(ids)
    } else {
        ChangeMembers::RemoveNodes(ids)
    };
    apply(replica, change, false).await?;
    tracing::info!(member = id, name = member.name, "a member was removed");
    Ok(member)
}

async fn readdress(
    replica: &Replica,
    id: u64,
    peer_address: String,
) -> Result<wire::Member, Failed> {
    find(replica, id)?;
    refuse_twice(replica, id, &peer_address)?;
    let node = PeerNode {
        peer_address,
        ..replica.peer_node(id)
    };
    set_node(replica, id, node).await?;
    Ok(find(replica, id)?)
}

async fn set_node(replica: &Replica, id: u64, node: PeerNode) -> Result<(), Failed> {
    apply(
        replica,
        ChangeMembers::SetNodes(BTreeMap::from([(id, node)])),
        true,
    )
    .await
}

/// Notes what a member says about itself.
pub(crate) async fn describe(replica: &Replica, id: u64, node: PeerNode) -> Result<(), String> {
    match set_node(replica, id, node).await {
        Ok(()) => Ok(()),
        Err(Failed::Refused(error)) => Err(error.to_string()),
        Err(Failed::Unknown(status)) => Err(status.message().to_owned()),
    }
}

async fn promote(replica: &Replica, id: u64) -> Result<wire::Member, Failed> {
    let member = find(replica, id)?;
    if member.voter {
        return Err(MemberError::NotLearner.into());
    }
    if member.disk_id == 0 || !caught_up(replica, id) {
        return Err(MemberError::LearnerNotReady.into());
    }
    let mut voters = replica.voters();
    voters.push(id);
    if replica.config.strict_reconfig && !quorum_lives(replica, &voters).await {
        return Err(MemberError::NotEnoughStarted.into());
    }
    let votes = Command::ClusterPut {
        key: item(ADDED, id),
        value: bytes::Bytes::from_static(VOTES),
    };
    note(replica, &[votes]).await?;
    apply(
        replica,
        ChangeMembers::AddVoterIds(BTreeSet::from([id])),
        true,
    )
    .await?;
    tracing::info!(member = id, name = member.name, "a learner votes now");
    Ok(find(replica, id)?)
}

/// Whether more than half of these answered the leader lately. One that leads only
/// since a moment ago has yet to hear them: it waits for that.
async fn quorum_lives(replica: &Replica, voters: &[u64]) -> bool {
    let mut changes = replica.raft.metrics();
    let heard = async {
        while !quorum_answered(replica, voters, replica.round_trip_max()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(replica.round_trip_max(), heard).await;
    quorum_answered(replica, voters, replica.round_trip_max())
}

/// Whether more than half of these answered the leader within the last `patience`.
pub(crate) fn quorum_answered(replica: &Replica, voters: &[u64], patience: Duration) -> bool {
    let heartbeats = replica.raft_metrics().heartbeat.unwrap_or_default();
    let alive = voters.iter().filter(|id| {
        let answered = heartbeats.get(id).and_then(Option::as_ref);
        **id == replica.id() || answered.is_some_and(|at| at.into_inner().elapsed() < patience)
    });
    alive.count() > voters.len() / 2
}

/// Hands the lead to the voter that holds most; whether somebody took it.
pub(crate) async fn step_aside(replica: &Replica) -> bool {
    let voters = replica.voters();
    let replication = replica.raft_metrics().replication.unwrap_or_default();
    let others = replication
        .into_iter()
        .filter(|(id, _)| *id != replica.id() && voters.contains(id));
    match others.max_by_key(|(_, matched)| *matched) {
        Some((heir, _)) => hand_over(replica, heir, replica.round_trip_max()).await,
        None => false,
    }
}

/// Hands the lead to a member; whether somebody else leads within `patience`.
pub(crate) async fn hand_over(replica: &Replica, heir: u64, patience: Duration) -> bool {
    tracing::info!(to = heir, "handing leadership over");
    if replica.raft.trigger().transfer_leader(heir).await.is_err() {
        return false;
    }
    let mut leader = replica.leader.clone();
    let own = replica.id();
    let gone = leader.wait_for(|leader| leader.is_some_and(|id| id != own));
    matches!(tokio::time::timeout(patience, gone).await, Ok(Ok(_)))
}

/// A member as the store's interface shows it.
pub(crate) fn shown(member: wire::Member) -> Member {
    Member {
        client_urls: member.client_urls,
        id: member.id,
        name: member.name,
        peer_addresses: vec![member.peer_address],
        is_learner: !member.voter,
    }
}

/// What travels between members: `wire::Member` has no JSON of its own.
pub(crate) fn encode_answer(changed: Changed) -> bytes::Bytes {
    let plain = changed.map(|(member, members)| {
        let members: Vec<_> = members.iter().map(plain).collect();
        (plain(&member), members)
    });
    serde_json::to_vec(&plain).expect("plain data").into()
}

pub(crate) fn decode_answer(bytes: &[u8]) -> Result<Changed, serde_json::Error> {
    let read: Result<(Plain, Vec<Plain>), MemberError> = serde_json::from_slice(bytes)?;
    Ok(read.map(|(member, members)| {
        (
            from_plain(member),
            members.into_iter().map(from_plain).collect(),
        )
    }))
}

type Plain = (u64, PeerNode, bool);

fn plain(member: &wire::Member) -> Plain {
    let node = PeerNode {
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        client_urls: member.client_urls.clone(),
        disk_id: member.disk_id,
    };
    (member.id, node, member.voter)
}

fn from_plain((id, node, voter): Plain) -> wire::Member {
    wire::Member {
        id,
        name: node.name,
        peer_address: node.peer_address,
        client_urls: node.client_urls,
        disk_id: node.disk_id,
        voter,
    }
}

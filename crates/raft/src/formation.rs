//! How a cluster comes into being once, and how a member whose disk was lost
//! comes back without breaking what it once promised.
//!
//! Every disk gets a random id when it is first used, and the replicated
//! membership names each member's disk. A member takes part (votes, accepts
//! entries) only once it knows that the membership names the disk it has; until
//! then it is as silent as a crashed one, which Raft is safe with. A cluster is
//! made by the first member by name, when every configured member answered that
//! it belongs to none. A member that comes back with another disk is taken out
//! of the voters, fed as a learner under its new disk, and made a voter again.
//! The reasoning is in `docs/decisions/0002-a-lost-disk-is-a-new-disk.md`.

use crate::peers::Lane;
use crate::replica::Replica;
use crate::types::PeerNode;
use crate::wire::{
    HelloRequest, HelloResponse, JoinRequest, JoinResponse, Member, join_response::Progress,
};
use futures::future::join_all;
use openraft::ChangeMembers;
use openraft::raft::ClientWriteResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_AGAIN: Duration = Duration::from_millis(300);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// A learner this close to the leader's end may vote.
const CAUGHT_UP_ENTRIES: u64 = 1_000;
const TROUBLE: &str = "formation";

/// Whether this member's log has ever held anything of a cluster.
pub(crate) fn is_initialized(replica: &Replica) -> bool {
    replica.membership().membership().nodes().next().is_some() || replica.wal.next_index() > 0
}

/// Runs until the process ends: first to be admitted, then to be a voter.
pub(crate) async fn run(replica: Arc<Replica>) {
    while !replica.is_admitted() {
        match step(&replica).await {
            Ok(true) => admit(&replica).await,
            Ok(false) => {}
            Err(reason) => replica.status.trouble(TROUBLE, Some(reason)),
        }
        if !replica.is_admitted() {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    replica.raft.runtime_config().elect(true);
    replica.status.trouble(TROUBLE, None);
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        let voters = replica.voters();
        let learner = !voters.is_empty() && !voters.contains(&replica.id());
        if learner && let Some(leader) = replica.leader_now() {
            // Whatever the answer: the membership says when it is done.
            let _ = ask_to_join(&replica, leader).await;
        }
    }
}

async fn admit(replica: &Replica) {
    let mut identity = replica.identity.clone();
    identity.admitted = true;
    match identity.save(&replica.wal).await {
        Ok(()) => {
            replica.admitted.send_replace(true);
        }
        Err(error) => replica.status.trouble(TROUBLE, Some(error.to_string())),
    }
}

/// One round of asking. `Ok(true)`: the membership names this disk.
async fn step(replica: &Arc<Replica>) -> Result<bool, String> {
    let others = replica.peers.others();
    let answers = join_all(others.iter().map(|id| say_hello(replica, *id))).await;
    let mut silent = Vec::new();
    let mut known = Vec::new();
    for (id, answer) in others.iter().zip(answers) {
        match answer {
            Ok(answer) => known.push(answer),
            Err(reason) => silent.push(format!("{} ({reason})", name_of(replica, *id))),
        }
    }
    let named = |answer: &HelloResponse| {
        let own = answer
            .members
            .iter()
            .find(|member| member.id == replica.id());
        own.is_some_and(|member| member.disk_id == replica.identity.disk_id)
    };
    if known.iter().any(named) {
        return Ok(true);
    }
    if let Some(answer) = known.iter().find(|answer| answer.initialized) {
        let leader = known
            .iter()
            .map(|answer| answer.leader_id)
            .find(|leader| *leader != 0);
        let asked = leader.or_else(|| answer.member.as_ref().map(|member| member.id));
        return match asked {
            Some(id) if id != replica.id() => ask_to_join(replica, id).await,
            _ => Err("the cluster has no leader yet".to_owned()),
        };
    }
    if !silent.is_empty() {
        return Err(format!(
            "this member's disk is empty, and a cluster is made only once every member answers; waiting for {}",
            silent.join(", ")
        ));
    }
    let first = replica
        .config
        .initial_cluster
        .iter()
        .map(|member| &member.name)
        .min();
    if first == Some(&replica.config.name) {
        return make_cluster(replica, &known).await;
    }
    Err(format!(
        "waiting for {} to make the cluster",
        first.map_or("", String::as_str)
    ))
}

fn name_of(replica: &Replica, id: u64) -> String {
    let config = &replica.config;
    let member = config
        .initial_cluster
        .iter()
        .find(|member| config.member_id(&member.name) == id);
    member.map_or_else(
        || format!("{id:x}"),
        |member| format!("{} at {}", member.name, member.peer_address),
    )
}

async fn say_hello(replica: &Replica, id: u64) -> Result<HelloResponse, String> {
    let mut client = replica.peers.client(id, "", Lane::Control);
    let hello = HelloRequest {
        member: Some(replica.own_member()),
    };
    match tokio::time::timeout(ASK_TIMEOUT, client.hello(hello)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn node(member: &Member) -> PeerNode {
    PeerNode {
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        client_urls: member.client_urls.clone(),
        disk_id: member.disk_id,
    }
}

async fn make_cluster(replica: &Replica, others: &[HelloResponse]) -> Result<bool, String> {
    let own = replica.own_member();
    let members = others
        .iter()
        .filter_map(|answer| answer.member.as_ref())
        .chain([&own]);
    let nodes: BTreeMap<u64, PeerNode> = members.map(|member| (member.id, node(member))).collect();
    if nodes.len() != replica.config.initial_cluster.len() {
        return Err(
            "two members of the initial cluster answer as the same; check their configurations"
                .to_owned(),
        );
    }
    tracing::info!(
        cluster = replica.identity.cluster_id,
        members = nodes.len(),
        "making the cluster"
    );
    replica
        .raft
        .initialize(nodes)
        .await
        .map_err(|error| error.to_string())?;
    Ok(true)
}

async fn ask_to_join(replica: &Replica, leader: u64) -> Result<bool, String> {
    let mut client = replica.peers.client(
        leader,
        &replica.peer_node(leader).peer_address,
        Lane::Control,
    );
    let request = JoinRequest {
        member: Some(replica.own_member()),
    };
    let answer = match tokio::time::timeout(ASK_TIMEOUT, client.join(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(status.message().to_owned()),
        Err(_) => return Err("the leader does not answer".to_owned()),
    };
    match answer.progress() {
        Progress::Listed | Progress::Voter => Ok(true),
        Progress::NotLeader => Err("the cluster has no leader yet".to_owned()),
        _ => Err(format!(
            "this member's disk was lost; it is being taken back in: {}",
            answer.reason
        )),
    }
}

/// The leader's side of [`ask_to_join`].
pub(crate) async fn take_back(replica: &Arc<Replica>, member: Member) -> JoinResponse {
    let leader_id = replica.leader_now().unwrap_or_default();
    let answer = |progress: Progress, reason: &str| JoinResponse {
        progress: progress.into(),
        leader_id,
        reason: reason.to_owned(),
    };
    if leader_id != replica.id() || replica.confirmed_index().await.is_err() {
        return answer(Progress::NotLeader, "");
    }
    let membership = replica.membership();
    let listed = membership
        .membership()
        .get_node(&member.id)
        .map(|node| node.disk_id);
    let voter = replica.voters().contains(&member.id);
    let member_disk = member.disk_id;
    if listed == Some(member.disk_id) && voter {
        return answer(Progress::Voter, "");
    }
    if listed.is_none() && replica.peers.address(member.id).is_none() {
        return answer(Progress::Wait, "no such member is configured on the leader");
    }
    if let Ok(busy) = replica.readmission.clone().try_lock_owned() {
        let replica = replica.clone();
        tokio::spawn(async move {
            let _busy = busy;
            if let Err(error) = advance(&replica, &member, listed, voter).await {
                tracing::warn!(member = member.name, %error, "could not take the member back in yet");
            }
        });
    }
    match listed {
        Some(disk_id) if disk_id == member_disk => answer(Progress::Listed, ""),
        Some(_) => answer(
            Progress::Wait,
            "its old disk is being taken out of the membership",
        ),
        None => answer(
            Progress::Wait,
            "its new disk is being added to the membership",
        ),
    }
}

/// One step of taking a member back in; it asks again for the next.
async fn advance(
    replica: &Replica,
    member: &Member,
    listed: Option<u64>,
    voter: bool,
) -> Result<(), String> {
    let id = member.id;
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    match listed {
        // The member's old disk voted. From the moment its removal is committed
        // by the others, nothing it promised matters any more.
        Some(disk) if disk != member.disk_id => {
            tracing::info!(
                member = member.name,
                "a member came back with an empty disk; taking the old one out"
            );
            let change = if voter {
                ChangeMembers::RemoveVoters(BTreeSet::from([id]))
            } else {
                ChangeMembers::RemoveNodes(BTreeSet::from([id]))
            };
            replica
                .raft
                .change_membership(change, false)
                .await
                .map(drop)
                .map_err(|error| failed(&error))
        }
        None => {
            tracing::info!(
                member = member.name,
                "adding the member with its new disk as a learner"
            );
            let added: Result<ClientWriteResponse<_>, _> =
                replica.raft.add_learner(id, node(member), false).await;
            added.map(drop).map_err(|error| failed(&error))
        }
        Some(_) => {
            let metrics = replica.raft_metrics();
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|replication| replication.get(&id).cloned().flatten());
            let behind = metrics
                .last_log_index
                .unwrap_or(0)
                .saturating_sub(matched.map_or(0, |id| id.index));
            if matched.is_none() || behind > CAUGHT_UP_ENTRIES {
                return Ok(());
            }
            tracing::info!(
                member = member.name,
                "the member has caught up; it votes again"
            );
            let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            replica
                .raft
                .change_membership(change, true)
                .await
                .map(drop)
                .map_err(|error| failed(&error))
        }
    }
}

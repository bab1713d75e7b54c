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

use crate::config::{InitialState, ReplicatedConfig};
use crate::identity::Identity;
use crate::members;
use crate::net::Network;
use crate::peers::{Lane, Peers};
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
use std::sync::atomic::Ordering;
use std::time::Duration;

const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_AGAIN: Duration = Duration::from_millis(300);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
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
        if let Err(error) = settle(&replica).await {
            replica.status.trouble(TROUBLE, Some(error));
        }
    }
}

/// What an admitted member does until the membership shows it as it is: a
/// voter, unless it is to stay a learner, with its present name and addresses.
async fn settle(replica: &Replica) -> Result<(), String> {
    let membership = replica.membership();
    let Some(node) = membership.membership().get_node(&replica.id()) else {
        return tell_if_removed(replica).await;
    };
    let config = &replica.config;
    let moved = replica.identity.configured.get(&config.name) != Some(&config.own_address());
    let outdated = node.name != config.name
        || node.client_urls != config.client_urls
        || (moved && node.peer_address != config.own_address());
    let learner = !replica.voters().contains(&replica.id());
    if outdated || (learner && members::votes_by_itself(replica, replica.id())) {
        if let Some(leader) = find_leader(replica).await {
            // Whatever the answer: the membership says when it is done.
            let address = replica.peer_node(leader).peer_address;
            let _ = ask_to_join(replica, leader, &address, moved).await;
        }
    } else if moved && !replica.configured_noted.swap(true, Ordering::Relaxed) {
        note_configured(replica).await?;
    }
    Ok(())
}

/// A leader that knows only this member's old address cannot show itself: then
/// another member tells who leads.
async fn find_leader(replica: &Replica) -> Option<u64> {
    if let Some(leader) = replica.leader_now() {
        return Some(leader);
    }
    let others = replica.peers.others();
    let answers = join_all(others.iter().map(|id| say_hello(replica, *id))).await;
    let mut told = answers.into_iter().flatten().map(|answer| answer.leader_id);
    told.find(|leader| *leader != 0 && *leader != replica.id())
}

/// The membership agrees with the configuration: a later difference is news.
async fn note_configured(replica: &Replica) -> Result<(), String> {
    let identity = Identity {
        admitted: true,
        configured: replica.config.addresses(),
        ..replica.identity.clone()
    };
    let saved = identity.save(&replica.wal).await;
    saved.map_err(|error| error.to_string())
}

/// A member that the membership does not name was removed, or is being taken back in.
async fn tell_if_removed(replica: &Replica) -> Result<(), String> {
    for id in replica.peers.others() {
        if say_hello(replica, id)
            .await
            .is_ok_and(|answer| answer.removed)
        {
            return Err("this member was removed from the cluster for good; to use this machine again, add a member and start it with an empty data directory".to_owned());
        }
    }
    Ok(())
}

/// Before a member has a past of its own: whether its peers are a cluster
/// already, which, and as whom they know this member.
pub(crate) async fn discover(
    config: &ReplicatedConfig,
    network: Arc<dyn Network>,
) -> Option<(u64, u64)> {
    let own = config.own_address();
    let strangers = Peers::new(config, network, (0, 0));
    let others = || {
        config
            .initial_cluster
            .iter()
            .filter(|m| m.name != config.name)
    };
    loop {
        let asked = others().map(|member| ask_stranger(&strangers, config, &member.peer_address));
        let answers = join_all(asked).await.into_iter().flatten();
        let known: Vec<HelloResponse> = answers.filter(|answer| answer.initialized).collect();
        let listed = known.iter().find_map(|answer| {
            let listed = answer.members.iter().find(|m| m.peer_address == own);
            listed.map(|member| (answer.cluster_id, member.id))
        });
        match (listed, known.first(), config.initial_state) {
            (Some(ids), _, _) => return Some(ids),
            (None, Some(answer), InitialState::New) => {
                return Some((answer.cluster_id, config.member_id(&config.name)));
            }
            (None, None, InitialState::New) => return None,
            (None, known, InitialState::Existing) => {
                let reason = match known {
                    Some(_) => "its members know of no member at this address; add it first",
                    None => "none of its members answers",
                };
                tracing::warn!(address = own, reason, "waiting to join the cluster");
                tokio::time::sleep(ASK_EVERY * 10).await;
            }
        }
    }
}

pub(crate) async fn ask_stranger(
    strangers: &Peers,
    config: &ReplicatedConfig,
    address: &str,
) -> Option<HelloResponse> {
    let mut client = strangers.client(0, address, Lane::Control);
    let hello = HelloRequest {
        member: Some(Member {
            name: config.name.clone(),
            peer_address: config.own_address(),
            ..Member::default()
        }),
    };
    let answer = tokio::time::timeout(ASK_TIMEOUT, client.hello(hello)).await;
    Some(answer.ok()?.ok()?.into_inner())
}

async fn admit(replica: &Replica) {
    let mut identity = replica.identity.clone();
    identity.admitted = true;
    identity.configured = replica.config.addresses();
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
    if known.iter().any(|answer| answer.removed) {
        return Err("this member was removed from the cluster for good; add it again, then start it anew with an empty data directory".to_owned());
    }
    if let Some(answer) = known.iter().find(|answer| answer.initialized) {
        let leader = known
            .iter()
            .map(|answer| answer.leader_id)
            .find(|leader| *leader != 0);
        let asked = leader.or_else(|| answer.member.as_ref().map(|member| member.id));
        return match asked {
            Some(id) if id != replica.id() => {
                // A member without a past knows only those of its configuration.
                let told = known.iter().flat_map(|answer| &answer.members);
                let address = told.into_iter().find(|member| member.id == id);
                let address = address.map_or("", |member| member.peer_address.as_str());
                ask_to_join(replica, id, address, false).await
            }
            _ => Err("the cluster has no leader yet".to_owned()),
        };
    }
    if replica.config.initial_state == InitialState::Existing {
        return Err("waiting for a member of the cluster to answer".to_owned());
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

pub(crate) async fn say_hello(replica: &Replica, id: u64) -> Result<HelloResponse, String> {
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

/// `address` is where the leader is, if nothing newer is known.
async fn ask_to_join(
    replica: &Replica,
    leader: u64,
    address: &str,
    moved: bool,
) -> Result<bool, String> {
    let mut client = replica.peers.client(leader, address, Lane::Control);
    let request = JoinRequest {
        member: Some(replica.own_member()),
        moved,
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
pub(crate) async fn take_back(replica: &Arc<Replica>, member: Member, moved: bool) -> JoinResponse {
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
    let known = membership.membership().get_node(&member.id).cloned();
    let listed = known.as_ref().map(|node| node.disk_id);
    let voter = replica.voters().contains(&member.id);
    let member_disk = member.disk_id;
    let described = known.map(|known| describe(&known, &member, moved));
    if listed == Some(member.disk_id) && voter && described.as_ref().is_some_and(Option::is_none) {
        return answer(Progress::Voter, "");
    }
    if listed.is_none() && !members::belongs(replica, member.id) {
        return answer(Progress::Wait, "no such member belongs to the cluster");
    }
    let described = described.flatten();
    if let Ok(busy) = replica.readmission.clone().try_lock_owned() {
        let replica = replica.clone();
        tokio::spawn(async move {
            let _busy = busy;
            let advanced = match (described, listed) {
                // Its first disk, or news about itself.
                (Some(node), Some(disk)) if disk == 0 || disk == member.disk_id => {
                    members::describe(&replica, member.id, node).await
                }
                _ => advance(&replica, &member, listed, voter).await,
            };
            if let Err(error) = advanced {
                tracing::warn!(member = member.name, %error, "could not take the member back in yet");
            }
        });
    }
    match listed {
        Some(disk_id) if disk_id == member_disk => answer(Progress::Listed, ""),
        Some(0) => answer(Progress::Wait, "it is becoming known"),
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

/// The node as the member says it is, if that is news.
fn describe(known: &PeerNode, member: &Member, moved: bool) -> Option<PeerNode> {
    let news = PeerNode {
        name: member.name.clone(),
        peer_address: if moved {
            member.peer_address.clone()
        } else {
            known.peer_address.clone()
        },
        client_urls: member.client_urls.clone(),
        disk_id: if known.disk_id == 0 {
            member.disk_id
        } else {
            known.disk_id
        },
    };
    Some(news).filter(|news| news != known)
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
            if voter || !members::votes_by_itself(replica, id) || !members::caught_up(replica, id) {
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

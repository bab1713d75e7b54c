//! Whether a member whose data is corrupt may set it aside and be rebuilt.
//!
//! A member without its data is one with a new disk, which the others take back in
//! without ever counting what the old disk promised: see `formation`. So nothing
//! that was acknowledged is at stake as long as a quorum of the *others* is alive:
//! whatever was committed is with one of them, and whoever leads them has it. If
//! there is no such quorum, the corrupt disk may be the last that holds something,
//! and people decide.

use crate::config::ReplicatedConfig;
use crate::formation::ask_stranger;
use crate::net::Network;
use crate::peers::{Lane, Peers};
use crate::start::StartError;
use crate::wire::{HelloResponse, Member, ReadIndexRequest};
use futures::future::join_all;
use kontiki_wal::WalError;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Why a member is not rebuilt.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RebuildRefusal {
    /// There is nobody to rebuild it from.
    #[error(
        "its configuration names no other member, so nobody else is known to have its data: restore a snapshot into an empty data directory"
    )]
    Alone,
    /// Without this member there is no quorum.
    #[error(
        "{voters} voters need this member for a quorum, so the others cannot take it back in by themselves: restore a snapshot, or see `kontiki recover`"
    )]
    Needed {
        /// How many there are, this member included.
        voters: usize,
    },
    /// Nobody said yes in time.
    #[error(
        "no quorum of the other members agreed within {} s ({last}); it is tried again at the next start. If they are lost, keep this data directory for `kontiki recover`",
        .waited.as_secs()
    )]
    NoQuorum {
        /// How long they were asked.
        waited: Duration,
        /// What was missing at the end.
        last: String,
    },
}

impl StartError {
    /// What is corrupt, if that is why the replica did not start.
    #[must_use]
    pub fn corruption(&self) -> Option<String> {
        match self {
            Self::Log(WalError::Corrupt { .. }) | Self::Torn { .. } => Some(self.to_string()),
            Self::Engine(error) if error.damaged => Some(self.to_string()),
            _ => None,
        }
    }
}

/// What the others' answers mean.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// The leader has to say whether a quorum is with it.
    Ask {
        cluster_id: u64,
        member_id: u64,
        leader: Member,
    },
    Refuse(RebuildRefusal),
    Wait(&'static str),
}

/// Waits until a quorum of the other members has shown that it is there and knows
/// this member. Only then may its data be set aside.
pub async fn await_consent(
    config: &ReplicatedConfig,
    network: Arc<dyn Network>,
    patience: Duration,
) -> Result<(), RebuildRefusal> {
    let others = || {
        let members = config.initial_cluster.iter();
        members.filter(|member| member.name != config.name)
    };
    if others().next().is_none() {
        return Err(RebuildRefusal::Alone);
    }
    let began = Instant::now();
    let strangers = Peers::new(config, network.clone(), (0, 0));
    loop {
        let asked = others().map(|member| ask_stranger(&strangers, config, &member.peer_address));
        let answers: Vec<HelloResponse> = join_all(asked).await.into_iter().flatten().collect();
        let last = match judge(config, &answers) {
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Wait(reason) => reason,
            Verdict::Ask {
                cluster_id,
                member_id,
                leader,
            } => {
                let peers = Peers::new(config, network.clone(), (cluster_id, member_id));
                let mut client = peers.client(leader.id, &leader.peer_address, Lane::Control);
                // A leader answers this only once a quorum has confirmed that it
                // leads; this member, which does not run, is none of it.
                let confirmed = client.read_index(ReadIndexRequest {});
                let limit = config.timing.election_max * 4;
                match tokio::time::timeout(limit, confirmed).await {
                    Ok(Ok(_)) => return Ok(()),
                    _ => "the leader has no quorum behind it",
                }
            }
        };
        if began.elapsed() >= patience {
            return Err(RebuildRefusal::NoQuorum {
                waited: patience,
                last: last.to_owned(),
            });
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn judge(config: &ReplicatedConfig, answers: &[HelloResponse]) -> Verdict {
    let own_address = config.own_address();
    let is_own = |member: &&Member| member.peer_address == own_address;
    let is_named = |member: &&Member| member.name == config.name;
    let mut known = answers.iter().filter_map(|answer| {
        let members = || answer.members.iter();
        // The address tells; a member that moves is known by its name.
        let own = members()
            .find(is_own)
            .or_else(|| members().find(is_named))?;
        answer.initialized.then_some((answer, own))
    });
    let Some((first, own)) = known.next() else {
        return Verdict::Wait("none of them answers that it knows this member");
    };
    if known.any(|(answer, _)| answer.cluster_id != first.cluster_id) {
        return Verdict::Wait("they belong to different clusters");
    }
    let voters = first.members.iter().filter(|member| member.voter);
    let voters = voters.count();
    let others = voters - usize::from(own.voter);
    if others < voters / 2 + 1 {
        return Verdict::Refuse(RebuildRefusal::Needed { voters });
    }
    let leader = answers
        .iter()
        .filter(|answer| answer.cluster_id == first.cluster_id)
        .find_map(|answer| {
            let leader = answer.leader_id;
            let mut members = answer.members.iter();
            members.find(|member| member.id == leader && leader != own.id)
        });
    match leader {
        Some(leader) => Verdict::Ask {
            cluster_id: first.cluster_id,
            member_id: own.id,
            leader: leader.clone(),
        },
        None => Verdict::Wait("they have no leader"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InitialMember;

    fn config() -> ReplicatedConfig {
        let members = ["a", "b", "c"].map(|name| InitialMember {
            name: name.to_owned(),
            peer_address: format!("{name}:1"),
        });
        ReplicatedConfig::new("/data", "a", members.to_vec())
    }

    /// Members by number: who votes.
    fn answer(leader_id: u64, members: &[(u64, bool)]) -> HelloResponse {
        let members = members.iter().map(|(id, voter)| {
            let name = ["", "a", "b", "c", "d"][usize::try_from(*id).unwrap()];
            Member {
                id: *id,
                name: name.to_owned(),
                peer_address: format!("{name}:1"),
                voter: *voter,
                ..Member::default()
            }
        });
        HelloResponse {
            cluster_id: 7,
            initialized: true,
            leader_id,
            members: members.collect(),
            ..HelloResponse::default()
        }
    }

    const THREE: [(u64, bool); 3] = [(1, true), (2, true), (3, true)];

    #[test]
    fn the_leader_of_the_others_is_asked_and_nobody_whom_the_member_is_needed_by() {
        let asks = |answers: &[HelloResponse]| match judge(&config(), answers) {
            Verdict::Ask { leader, .. } => Some(leader.id),
            _ => None,
        };
        assert_eq!(asks(&[answer(2, &THREE), answer(2, &THREE)]), Some(2));
        // One that has not heard of a leader does not stand in the way.
        assert_eq!(asks(&[answer(0, &THREE), answer(3, &THREE)]), Some(3));
        // A learner is not needed for anything.
        assert_eq!(asks(&[answer(2, &[(1, false), (2, true)])]), Some(2));
        let needed = |members: &[(u64, bool)]| match judge(&config(), &[answer(2, members)]) {
            Verdict::Refuse(RebuildRefusal::Needed { voters }) => Some(voters),
            _ => None,
        };
        assert_eq!(needed(&[(1, true), (2, true)]), Some(2));
        assert_eq!(needed(&[(1, true), (2, false)]), Some(1));
        assert_eq!(needed(&[(1, true), (2, true), (3, false)]), Some(2));
        assert_eq!(needed(&THREE), None);
    }

    #[test]
    fn what_may_change_is_waited_for() {
        let mut foreign = answer(2, &THREE);
        foreign.cluster_id = 8;
        let mut young = answer(2, &THREE);
        young.initialized = false;
        for answers in [
            &[][..],
            &[young],
            &[answer(2, &[(2, true), (3, true), (4, true)])],
            &[answer(0, &THREE)],
            // What it takes for the leader is this member.
            &[answer(1, &THREE)],
            &[answer(2, &THREE), foreign],
        ] {
            let verdict = judge(&config(), answers);
            assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_member_that_moves_is_known_by_its_name() {
        let mut told = answer(2, &THREE);
        told.members[0].peer_address = "elsewhere:1".into();
        let verdict = judge(&config(), &[told]);
        assert!(matches!(verdict, Verdict::Ask { member_id: 1, .. }));
    }
}

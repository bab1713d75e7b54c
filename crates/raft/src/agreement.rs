//! What the leader looks after among the members: that they hold the same
//! content, and which features all of them understand.

use crate::peers::Lane;
use crate::replica::Replica;
use crate::wire::{HashKvRequest, HashKvResponse, HelloRequest};
use kontiki_mvcc::{Command, HashKv};
use kontiki_store::{Alarm, AlarmKind, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// The newest feature level that this program understands. A log entry or a
/// content of a newer level must not be shown to it.
pub const FEATURE_LEVEL: u32 = 1;

const FEATURES_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);
/// A member may need this long to hash all it has.
const HASH_TIMEOUT: Duration = Duration::from_secs(300);
/// And this long to apply what it has yet to.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Raises the cluster's feature level once every voter understands a newer one.
pub(crate) async fn raise_features(replica: Arc<Replica>) {
    let mut leader = replica.leader.clone();
    loop {
        tokio::select! {
            biased;
            changed = leader.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(FEATURES_LOOKED_AT_EVERY) => {}
        }
        let active = replica.content.feature_level();
        if active >= FEATURE_LEVEL || !replica.is_leader() {
            continue;
        }
        let level = understood_by_all(&replica).await;
        if level > active {
            let activate = Command::ActivateFeature { level };
            if replica.own.propose(&replica, &[activate]).await {
                tracing::info!(level, "every voter understands a new feature level");
            }
        }
    }
}

async fn understood_by_all(replica: &Replica) -> u32 {
    let mut level = FEATURE_LEVEL;
    for id in replica.voters() {
        if id == replica.id() {
            continue;
        }
        let node = replica.peer_node(id);
        let mut client = replica.peers.client(id, &node.peer_address, Lane::Control);
        let hello = HelloRequest {
            member: Some(replica.own_member()),
        };
        let answer = tokio::time::timeout(replica.round_trip_max(), client.hello(hello)).await;
        // Who cannot be asked may be anything.
        let theirs = match answer {
            Ok(Ok(answer)) => answer.into_inner().feature_level,
            _ => 0,
        };
        level = level.min(theirs);
    }
    level
}

/// Compares what the members hold, every `interval`.
pub(crate) async fn compare_hashes(replica: Arc<Replica>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        if !replica.is_leader() {
            continue;
        }
        let Ok(own) = own_hash(&replica, 0).await else {
            continue;
        };
        let mut hashes = BTreeMap::from([(replica.id(), own.hash)]);
        for member in replica.members() {
            if member.id == replica.id() || member.disk_id == 0 {
                continue;
            }
            // Silence is told elsewhere.
            if let Some(theirs) = ask(&replica, member.id, own.revision).await
                && theirs.compact_revision == own.compact_revision
                && theirs.revision == own.revision
            {
                hashes.insert(member.id, theirs.hash);
            }
        }
        tracing::debug!(revision = own.revision, ?hashes, "compared the members");
        for id in deviating(&hashes, own.hash) {
            raise(&replica, id, own.revision).await;
        }
    }
}

async fn raise(replica: &Replica, id: u64, revision: Revision) {
    let name = replica.peer_node(id).name;
    tracing::error!(
        member = name,
        id = format!("{id:x}"),
        revision,
        "this member's data differs from the others'. Remove its data directory and start it again: it is rebuilt from its peers. Then end the alarm with `etcdctl alarm disarm`"
    );
    let alarm = Alarm {
        member_id: id,
        kind: AlarmKind::Corrupt,
    };
    if !replica.content.alarms().contains(&alarm) {
        replica
            .own
            .propose(replica, &[Command::alarm(alarm, true)])
            .await;
    }
}

/// The members that do not hold what most hold. Where there is no majority, those
/// that differ from the leader: something is wrong, and it has to be looked at.
fn deviating(hashes: &BTreeMap<u64, u32>, leaders: u32) -> Vec<u64> {
    let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
    for hash in hashes.values() {
        *votes.entry(*hash).or_default() += 1;
    }
    let majority = votes.iter().find(|(_, count)| **count > hashes.len() / 2);
    let right = majority.map_or(leaders, |(hash, _)| *hash);
    let differs = hashes.iter().filter(|(_, hash)| **hash != right);
    differs.map(|(id, _)| *id).collect()
}

async fn ask(replica: &Replica, id: u64, revision: Revision) -> Option<HashKvResponse> {
    let node = replica.peer_node(id);
    let mut client = replica.peers.client(id, &node.peer_address, Lane::Control);
    let answer = client.hash_kv(HashKvRequest { revision });
    match tokio::time::timeout(HASH_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer.into_inner()),
        _ => None,
    }
}

async fn own_hash(replica: &Replica, revision: Revision) -> Result<HashKv, Status> {
    let content = replica.content.clone();
    let hashed = replica.workers.run(move || content.hash_kv(revision)).await;
    hashed
        .map_err(|error| Status::unavailable(error.to_string()))?
        .map_err(|error| Status::unavailable(error.to_string()))
}

/// What a peer is told that compares.
pub(crate) async fn hash_for_peer(
    replica: &Replica,
    revision: Revision,
) -> Result<HashKvResponse, Status> {
    let mut status = replica.status.subscribe();
    let there = status.wait_for(|status| status.revision >= revision);
    if !matches!(tokio::time::timeout(APPLY_TIMEOUT, there).await, Ok(Ok(_))) {
        return Err(Status::unavailable("this member is not there yet"));
    }
    let hash = own_hash(replica, revision).await?;
    Ok(HashKvResponse {
        hash: hash.hash,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_differs_from_most_deviates() {
        for (hashes, leaders, expected) in [
            (&[(1, 7), (2, 7), (3, 7)][..], 7, &[][..]),
            (&[(1, 7), (2, 8), (3, 7)], 7, &[2]),
            // The leader itself may be the one.
            (&[(1, 7), (2, 8), (3, 8)], 7, &[1]),
            (&[(1, 7), (2, 8)], 7, &[2]),
            (&[(1, 7)], 7, &[]),
            (&[(1, 7), (2, 8), (3, 9)], 7, &[2, 3]),
        ] {
            let hashes = hashes.iter().copied().collect();
            assert_eq!(deviating(&hashes, leaders), expected, "{hashes:?}");
        }
    }
}

//! What a leader looks after: its quorum, features that all understand, and that
//! the members hold the same.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use kontiki_mvcc::{Command, Entry};
use kontiki_raft::FEATURE_LEVEL;
use kontiki_store::{AlarmKind, Operations, Store, StoreError};
use std::time::Duration;
use support::{Cluster, put, read, write};

/// Waits until `wanted` holds; nothing tells when these things change.
async fn until(cluster: &Cluster, what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    cluster.or_explain(what, seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_nobody_follows_does_not_call_itself_one_and_calls_fail_at_once() {
    let mut cluster = Cluster::new(3, 71);
    for at in 0..3 {
        cluster.configure(at, |config| config.leaderless_max = Duration::ZERO);
        cluster.start(at).await;
    }
    let leader = cluster.wait_leader().await;
    write(&cluster.store(leader), "key", "before").await;
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        cluster.kill(*at);
    }
    cluster
        .wait_status(leader, "it to notice", |status| status.leader_id == 0)
        .await;
    let refused = cluster.store(leader).txn(put("key", "never")).await;
    assert_eq!(refused, Err(StoreError::NoLeader));
    let refused = read(&cluster.store(leader), "key").await;
    assert_eq!(refused, Err(StoreError::NoLeader));
    cluster.start(others[0]).await;
    cluster.wait_leader().await;
    write(&cluster.store(leader), "other", "after").await;
    let found = read(&cluster.store(others[0]), "key").await;
    assert_eq!(found, Ok(Some("before".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_feature_level_is_active_once_every_voter_understands_it() {
    let cluster = Cluster::started(3, 72).await;
    for at in 0..3 {
        until(&cluster, "the feature level", async || {
            cluster.store(at).state_machine().feature_level() == FEATURE_LEVEL
        })
        .await;
    }
    let found = cluster.store(0).diagnose(true).await.expect("a diagnosis");
    assert_eq!(found.feature_level, FEATURE_LEVEL);
    assert!(matches!(found.write_probe, Some(Ok(_))), "{found:?}");
    assert!(found.fsync_p99.is_some());
    assert_eq!(found.peers.len(), 2);
    assert!(
        found.peers.iter().all(|peer| peer.round_trip.is_some()),
        "{found:?}"
    );
    let revision = cluster.status(0).revision;
    cluster.store(0).diagnose(true).await.expect("a diagnosis");
    assert_eq!(
        cluster.status(0).revision,
        revision,
        "a probe changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_holds_something_else_is_found_and_stops_writes() {
    let mut cluster = Cluster::new(3, 73);
    for at in 0..3 {
        cluster.configure(at, |config| {
            config.compare_hashes = Some(Duration::from_millis(50));
        });
        cluster.start(at).await;
    }
    let leader = cluster.wait_leader().await;
    write(&cluster.store(leader), "key", "value").await;
    let wrong = (leader + 1) % 3;
    cluster
        .wait_status(wrong, "it has the key", |status| status.revision == 2)
        .await;
    let content = cluster.store(wrong).state_machine().clone();
    // As if its disk had turned a bit of it, with all checksums right.
    let rogue = Entry {
        term: 1,
        commands: vec![Command::Txn(put("key", "another"))],
    };
    let position = content.applied_meta().expect("it has applied something");
    content.apply(&[rogue], position).expect("it applies");
    write(&cluster.store(leader), "more", "x").await;
    until(&cluster, "the alarm", async || {
        !cluster.store(leader).local_alarms().is_empty()
    })
    .await;
    let alarms = cluster.store(leader).local_alarms();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].kind, AlarmKind::Corrupt);
    assert_eq!(alarms[0].member_id, cluster.status(wrong).member_id);
    let refused = cluster.store(leader).txn(put("key", "never")).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
}

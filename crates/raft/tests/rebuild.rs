//! Members whose data is corrupt, and when they may be rebuilt from the others.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use kontiki_raft::RebuildRefusal;
use kontiki_store::StoreStatus;
use std::time::Duration;
use support::{Cluster, HANG, read_all, write};

const NO_PATIENCE: Duration = Duration::ZERO;

/// A cluster of three with some history, its leader, and a follower that is down.
async fn with_one_down(seed: u64) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::started(3, seed).await;
    let leader = cluster.wait_leader().await;
    for number in 0..30 {
        write(&cluster.store(leader), &format!("key/{number}"), "x").await;
    }
    let victim = (leader + 1) % 3;
    cluster
        .wait_status(victim, "it has them", |status| status.revision == 31)
        .await;
    // So that the state has something to lose.
    let content = cluster.store(victim).state_machine().clone();
    content.flush().expect("memory");
    drop(content);
    cluster.kill(victim);
    (cluster, leader, victim)
}

fn is_whole(status: &StoreStatus) -> bool {
    !status.is_learner && status.leader_id != 0 && status.recovered && status.errors.is_empty()
}

/// The member does not start, may be rebuilt, and is what it was afterwards.
async fn is_rebuilt(cluster: &mut Cluster, leader: usize, victim: usize) {
    let refused = cluster.try_start(victim).await.expect_err("it is corrupt");
    assert!(refused.corruption().is_some(), "{refused}");
    cluster
        .consent(victim, HANG)
        .await
        .expect("the others agree");
    cluster.wipe(victim);
    cluster.start(victim).await;
    write(&cluster.store(leader), "afterwards", "x").await;
    let revision = cluster.status(leader).revision;
    cluster
        .wait_status(victim, "it was rebuilt", |status| {
            is_whole(status) && status.revision == revision
        })
        .await;
    assert_eq!(
        read_all(&cluster.store(victim)).await.kvs,
        read_all(&cluster.store(leader)).await.kvs
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bit_that_turned_in_the_log_has_its_member_rebuilt() {
    for (seed, place) in [(41, 1), (42, 2), (43, 3)] {
        let (mut cluster, leader, victim) = with_one_down(seed).await;
        let mut files = cluster.log_files(victim);
        files.sort();
        let (_, content) = &mut files[0];
        let at = content.len() * place / 4;
        content[at] ^= 0x10;
        cluster.set_log_files(victim, &files);
        is_rebuilt(&mut cluster, leader, victim).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_that_does_not_read_back_has_its_member_rebuilt() {
    for (seed, name) in [(44, "state"), (45, "applied")] {
        let (mut cluster, leader, victim) = with_one_down(seed).await;
        assert!(cluster.damage_state(victim, name), "{name}");
        is_rebuilt(&mut cluster, leader, victim).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_whose_log_is_gone_but_not_its_state_is_rebuilt() {
    let (mut cluster, leader, victim) = with_one_down(47).await;
    cluster.set_log_files(victim, &[]);
    is_rebuilt(&mut cluster, leader, victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_engine_finds_damaged_while_it_runs_is_told_at_once() {
    let cluster = Cluster::started(3, 48).await;
    cluster.nodes[1].find_damage("a block's checksum does not match");
    let told = tokio::time::timeout(HANG, cluster.store(1).corrupted()).await;
    assert!(told.expect("it is noticed").contains("checksum"));
    cluster
        .wait_status(1, "it shows", |status| !status.errors.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_quorum_of_the_others_nobody_agrees() {
    let (mut cluster, leader, victim) = with_one_down(49).await;
    let third = 3 - leader - victim;
    cluster.kill(third);
    // The leader has to find out that it is alone, or to be asked for its quorum.
    let refused = cluster.consent(victim, NO_PATIENCE).await;
    assert!(
        matches!(refused, Err(RebuildRefusal::NoQuorum { .. })),
        "{refused:?}"
    );
    cluster.kill(leader);
    let refused = cluster.consent(victim, NO_PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("kontiki recover"), "{refused}");
    // They come back, and then they do.
    cluster.start(third).await;
    cluster.start(leader).await;
    cluster.consent(victim, HANG).await.expect("they agree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_the_others_need_is_never_set_aside() {
    let mut alone = Cluster::started(1, 50).await;
    alone.kill(0);
    assert_eq!(
        alone.consent(0, NO_PATIENCE).await,
        Err(RebuildRefusal::Alone)
    );
    let mut pair = Cluster::started(2, 51).await;
    let leader = pair.wait_leader().await;
    write(&pair.store(leader), "key", "x").await;
    pair.kill(1 - leader);
    assert_eq!(
        pair.consent(1 - leader, NO_PATIENCE).await,
        Err(RebuildRefusal::Needed { voters: 2 })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_whose_state_cannot_be_written_says_that_it_has_failed() {
    let cluster = Cluster::started(3, 61).await;
    let leader = cluster.wait_leader().await;
    write(&cluster.store(leader), "before", "x").await;
    let victim = (leader + 1) % 3;
    cluster.nodes[victim].refuse_writes();
    let store = cluster.store(victim);
    let failed = tokio::spawn(async move { store.failed().await });
    // Applying writes to the engine; the others go on without it.
    write(&cluster.store(leader), "after", "x").await;
    let failure = tokio::time::timeout(HANG, failed).await;
    let failure = failure.expect("it is told").expect("it does not panic");
    assert!(failure.contains("the process is dead"), "{failure}");
    write(&cluster.store(leader), "later", "x").await;
}

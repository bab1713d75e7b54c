//! Clusters that elect, fail, partition and come back.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use kontiki_raft::{ReplicatedStore, StartError};
use kontiki_store::{Op, PutRequest, Store, StoreError, TxnRequest};
use kontiki_wal::Disk as _;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Cluster, HANG, read, read_all, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_members_make_one_cluster_and_each_takes_writes_and_serves_the_newest_read() {
    let cluster = Cluster::started(3, 1).await;
    for round in 0..10 {
        for at in 0..3 {
            let value = format!("{round}/{at}");
            let written = write(&cluster.store(at), "key", &value).await;
            for other in 0..3 {
                let found = read(&cluster.store(other), "key").await.unwrap();
                assert_eq!(found.as_deref(), Some(value.as_str()), "member {other}");
                assert!(cluster.status(other).revision >= written.header.revision);
            }
        }
    }
    let members = cluster.store(1).members().await.unwrap();
    let mut names: Vec<_> = members
        .iter()
        .map(|member| (member.name.as_str(), member.is_learner))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("a", false), ("b", false), ("c", false)]);
    let leaders = (0..3).filter(|at| cluster.status(*at).is_leader()).count();
    assert_eq!(leaders, 1);
    for at in 0..3 {
        cluster
            .wait_status(at, "recovery", |status| {
                status.recovered && status.errors.is_empty()
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_is_only_made_once_every_member_answers() {
    let mut cluster = Cluster::new(3, 2);
    cluster.start(0).await;
    cluster.start(2).await;
    cluster
        .wait_status(0, "the wait to be explained", |status| {
            status.errors.iter().any(|e| e.contains("b at b:2380"))
        })
        .await;
    assert_eq!(cluster.status(0).leader_id, 0);
    cluster.start(1).await;
    cluster.wait_leader().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_go_on_after_the_leader_dies_and_it_catches_up_from_its_own_disk() {
    let mut cluster = Cluster::started(3, 3).await;
    for number in 0..20 {
        write(&cluster.store(0), &format!("before/{number}"), "x").await;
    }
    let leader = cluster.wait_leader().await;
    cluster.kill(leader);
    let other = cluster.running()[0];
    for number in 0..20 {
        write(&cluster.store(other), &format!("after/{number}"), "x").await;
    }
    cluster.start(leader).await;
    cluster
        .or_explain(
            "the old leader to catch up",
            write(&cluster.store(leader), "again", "x"),
        )
        .await;
    let expected = read_all(&cluster.store(other)).await.kvs;
    assert_eq!(expected.len(), 41);
    assert_eq!(read_all(&cluster.store(leader)).await.kvs, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_keeps_what_a_restart_replayed_until_it_is_durable() {
    let mut cluster = Cluster::new(3, 11);
    // The state machine is never made durable: all of it is in the log.
    cluster.configure(1, |config| {
        config.limits.log_entries_max = u64::MAX;
        config.limits.log_entries_kept = 0;
        config.limits.log_check_every = Duration::from_millis(1);
    });
    for at in 0..3 {
        cluster.start(at).await;
    }
    cluster.wait_leader().await;
    for number in 0..100 {
        write(&cluster.store(0), &format!("key/{number}"), "x").await;
    }
    for life in 0..3 {
        cluster.kill(1);
        cluster.start(1).await;
        // Each takes longer than the check of the log.
        for number in 0..20 {
            write(&cluster.store(1), &format!("life/{life}/{number}"), "x").await;
        }
    }
    let expected = read_all(&cluster.store(0)).await.kvs;
    assert_eq!(expected.len(), 160);
    assert_eq!(read_all(&cluster.store(1)).await.kvs, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_whose_disk_was_lost_is_rebuilt_by_a_snapshot_and_votes_again() {
    let mut cluster = Cluster::started(3, 4).await;
    let leader = cluster.wait_leader().await;
    let lost = (leader + 1) % 3;
    cluster.kill(lost);
    cluster.wipe(lost);
    // Until the log no longer reaches back to its beginning.
    let first = Path::new("/data/wal/0000000000000001.wal");
    let mut number = 0;
    while cluster.nodes[leader].disk.content(first).is_some() {
        write(
            &cluster.store(leader),
            &format!("key/{number}"),
            &"x".repeat(200),
        )
        .await;
        number += 1;
        assert!(number < 5000, "the log is never purged");
    }
    cluster.start(lost).await;
    cluster
        .or_explain("the lost member", write(&cluster.store(lost), "alive", "x"))
        .await;
    cluster
        .wait_status(lost, "a vote", |status| {
            !status.is_learner && status.leader_id != 0
        })
        .await;
    assert_eq!(
        read_all(&cluster.store(lost)).await.kvs,
        read_all(&cluster.store(leader)).await.kvs
    );
    // It counts for the quorum again: with another one dead, writes go on.
    cluster
        .or_explain("a voter", async {
            while cluster
                .store(leader)
                .members()
                .await
                .unwrap()
                .iter()
                .any(|member| member.is_learner)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    let third = 3 - leader - lost;
    cluster.kill(third);
    write(&cluster.store(lost), "two are enough", "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_was_cut_off_serves_no_stale_read() {
    let mut cluster = Cluster::new(3, 5);
    for at in 0..3 {
        cluster.configure(at, |config| {
            config.limits.request_timeout = Duration::from_secs(3)
        });
        cluster.start(at).await;
    }
    let old = cluster.wait_leader().await;
    write(&cluster.store(old), "key", "old").await;
    let others: Vec<usize> = (0..3).filter(|at| *at != old).collect();
    for other in &others {
        cluster
            .network
            .cut(&cluster.nodes[old].address, &cluster.nodes[*other].address);
    }
    write(&cluster.store(others[0]), "key", "new").await;
    let stale = read(&cluster.store(old), "key").await;
    assert!(stale.is_err(), "the old leader answered {stale:?}");
    assert!(
        cluster
            .store(old)
            .txn(support::put("key", "lost"))
            .await
            .is_err()
    );
    cluster.network.heal();
    let found = cluster.or_explain("the old leader's read", async {
        loop {
            if let Ok(found) = read(&cluster.store(old), "key").await {
                return found;
            }
        }
    });
    assert_ne!(found.await.as_deref(), Some("old"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_leaders_process_dies_the_furthest_log_leads_at_once() {
    for behind in 0..3 {
        let mut cluster = Cluster::new(3, 17);
        for at in 0..3 {
            cluster.configure(at, |config| {
                // So that an election by timeout, which would begin another
                // term, does not come before that by the hint.
                config.timing.election_min = Duration::from_secs(2);
                config.timing.election_max = Duration::from_secs(3);
            });
            cluster.start(at).await;
        }
        let leader = cluster.wait_leader().await;
        if behind == leader {
            continue;
        }
        let other = 3 - leader - behind;
        write(&cluster.store(leader), "before", "x").await;
        let address = |at: usize| cluster.nodes[at].address.clone();
        cluster.network.cut(&address(leader), &address(behind));
        for number in 0..20 {
            write(&cluster.store(leader), &format!("key/{number}"), "x").await;
        }
        let term = cluster.status(other).raft_term;
        // Its links break with it, also the silent one.
        cluster.kill(leader);
        cluster.network.heal();
        let next = cluster.wait_leader().await;
        assert_eq!(next, other, "the member that has everything leads");
        let terms = cluster.status(next).raft_term - term;
        assert_eq!(terms, 1, "nobody asked for votes in vain");
        assert_eq!(read_all(&cluster.store(behind)).await.kvs.len(), 21);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_write_is_lost_or_applied_twice_over_repeated_kills() {
    let seed = 6;
    let mut cluster = Cluster::started(3, seed).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut acknowledged: HashMap<String, i64> = HashMap::new();
    for round in 0..5u64 {
        // The victim alternates between leader and followers, by the seed.
        let victim = if round % 2 == 0 {
            cluster.wait_leader().await
        } else {
            ((seed + round) % 3) as usize
        };
        let writers = spawn_writers(&cluster, victim, round, &stop);
        tokio::time::sleep(Duration::from_millis(150)).await;
        cluster.kill(victim);
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.store(true, Ordering::Release);
        for writer in writers {
            acknowledged.extend(tokio::time::timeout(HANG, writer).await.unwrap().unwrap());
        }
        stop.store(false, Ordering::Release);
        cluster.start(victim).await;
        cluster
            .or_explain(
                "the victim",
                write(&cluster.store(victim), &format!("up/{round}"), "x"),
            )
            .await;
    }
    assert!(
        acknowledged.len() > 50,
        "only {} writes",
        acknowledged.len()
    );
    let mut contents = Vec::new();
    for at in 0..3 {
        let all = read_all(&cluster.store(at)).await;
        let found: HashMap<&[u8], _> = all.kvs.iter().map(|kv| (&kv.key[..], kv)).collect();
        for (key, revision) in &acknowledged {
            let kv = found
                .get(key.as_bytes())
                .unwrap_or_else(|| panic!("member {at} lost {key}"));
            assert_eq!(
                (kv.mod_revision, kv.version),
                (*revision, 1),
                "member {at} applied {key} otherwise"
            );
        }
        for kv in all.kvs.iter().filter(|kv| kv.key.starts_with(b"w/")) {
            assert_eq!(kv.version, 1, "{:?} was applied twice", kv.key);
        }
        contents.push(all.kvs);
    }
    assert!(
        contents.iter().all(|content| *content == contents[0]),
        "the replicas differ"
    );
}

/// Writers on every member but `victim`; each key is written by one call only,
/// which answers its revision.
fn spawn_writers(
    cluster: &Cluster,
    victim: usize,
    round: u64,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<HashMap<String, i64>>> {
    let survivors = cluster.running().into_iter().filter(|at| *at != victim);
    let writers = survivors.flat_map(|at| (0..4).map(move |writer| (at, writer)));
    let spawn = |(at, writer): (usize, usize)| {
        let (store, stop) = (cluster.store(at), stop.clone());
        tokio::spawn(async move {
            let mut acknowledged = HashMap::new();
            for number in 0.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let key = format!("w/{round}/{at}/{writer}/{number}");
                // A key whose write was not acknowledged is never written again.
                if let Ok(response) = store.txn(support::put(&key, "x")).await {
                    acknowledged.insert(key, response.header.revision);
                }
            }
            acknowledged
        })
    };
    writers.map(spawn).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_lives_as_long_as_it_is_kept_alive_from_any_member_and_its_keys_end_with_it() {
    let cluster = Cluster::started(3, 7).await;
    let leader = cluster.wait_leader().await;
    let follower = cluster.store((leader + 1) % 3);
    let lease = follower.lease_grant(0, 1).await.unwrap();
    assert_eq!(lease.ttl_seconds, 2, "raised to the minimum");
    let put = PutRequest {
        key: "leased".into(),
        value: "x".into(),
        lease: lease.id,
        ..PutRequest::default()
    };
    follower
        .txn(TxnRequest {
            success: vec![Op::Put(put)],
            ..TxnRequest::default()
        })
        .await
        .unwrap();
    let renewed = follower.lease_keep_alive(lease.id).await.unwrap();
    assert_eq!(renewed.ttl_seconds, 2);
    let info = follower.lease_info(lease.id, true).await.unwrap();
    assert_eq!((info.granted_ttl_seconds, info.keys.len()), (2, 1));
    assert!(info.ttl_seconds > 0);
    assert_eq!(follower.leases().await.unwrap(), [lease.id]);
    cluster
        .or_explain("the lease's end", async {
            while read(&follower, "leased").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    assert_eq!(
        follower
            .lease_keep_alive(lease.id)
            .await
            .unwrap()
            .ttl_seconds,
        0
    );
    assert_eq!(
        follower
            .lease_info(lease.id, false)
            .await
            .unwrap()
            .ttl_seconds,
        -1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_graceful_stop_hands_leadership_over() {
    let mut cluster = Cluster::started(3, 8).await;
    let leader = cluster.wait_leader().await;
    let store = cluster.store(leader);
    let term = cluster.status(leader).raft_term;
    store.shutdown().await;
    drop(store);
    cluster.kill(leader);
    let next = cluster.wait_leader().await;
    assert_ne!(next, leader);
    assert_eq!(
        cluster.status(next).raft_term,
        term + 1,
        "one election was enough"
    );
    assert!(matches!(
        write(&cluster.store(next), "key", "x")
            .await
            .header
            .revision,
        2..
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn old_history_is_compacted_by_itself() {
    let mut cluster = Cluster::new(1, 9);
    cluster.configure(0, |config| {
        config.auto_compaction = Some(Duration::from_millis(50))
    });
    cluster.start(0).await;
    cluster.wait_leader().await;
    let written = write(&cluster.store(0), "key", "1").await.header.revision;
    write(&cluster.store(0), "key", "2").await;
    cluster
        .wait_status(0, "a compaction", |status| {
            status.compact_revision >= written
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_of_another_cluster_is_refused_and_so_is_its_data() {
    let mut cluster = Cluster::new(3, 10);
    cluster.configure(1, |config| config.cluster_token = "another".into());
    for at in 0..3 {
        cluster.start(at).await;
    }
    cluster
        .wait_status(0, "the refusal", |status| {
            status
                .errors
                .iter()
                .any(|error| error.contains("belongs to cluster"))
        })
        .await;
    assert_eq!(cluster.status(0).leader_id, 0);

    cluster.kill(0);
    cluster.configure(0, |config| config.cluster_token = "another".into());
    let disk = cluster.nodes[0].disk.clone();
    assert!(disk.list(Path::new("/data/wal")).is_ok());
    let error = cluster.try_start(0).await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Foreign { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_quorum_calls_fail_within_their_time() {
    let mut cluster = Cluster::new(3, 11);
    for at in 0..3 {
        cluster.configure(at, |config| {
            config.limits.request_timeout = Duration::from_millis(800)
        });
        cluster.start(at).await;
    }
    let leader = cluster.wait_leader().await;
    let survivor: Arc<ReplicatedStore> = cluster.store(leader);
    for at in (0..3).filter(|at| *at != leader) {
        cluster.kill(at);
    }
    let write = survivor.txn(support::put("key", "x")).await.unwrap_err();
    assert!(
        matches!(
            write,
            StoreError::Timeout | StoreError::TimeoutLeaderFailure | StoreError::NoLeader
        ),
        "{write:?}"
    );
    assert!(read(&survivor, "key").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_lost_what_it_had_acknowledged_stops_says_so_and_is_rebuilt() {
    let mut cluster = Cluster::started(3, 23).await;
    let leader = cluster.wait_leader().await;
    let victim = (leader + 1) % 3;
    write(&cluster.store(leader), "before", "x").await;
    cluster
        .wait_status(victim, "it has that", |status| status.revision == 2)
        .await;
    // Its disk will have kept nothing of what comes now.
    let kept = cluster.log_files(victim);
    for number in 0..20 {
        write(&cluster.store(leader), &format!("key/{number}"), "x").await;
    }
    cluster
        .wait_status(victim, "it has acknowledged all", |status| {
            status.revision == 22
        })
        .await;
    cluster.kill(victim);
    cluster.set_log_files(victim, &kept);
    cluster.start(victim).await;
    cluster
        .wait_status(victim, "it says what it lost", |status| {
            let told = |error: &String| error.contains("move the data directory away");
            status.errors.iter().any(told)
        })
        .await;
    cluster.kill(victim);
    let refused = cluster.try_start(victim).await.unwrap_err().to_string();
    assert!(refused.contains("lost entries"), "{refused}");
    write(&cluster.store(leader), "meanwhile", "x").await;

    cluster.wipe(victim);
    cluster.start(victim).await;
    cluster
        .wait_status(victim, "it was rebuilt", |status| {
            status.revision == 23 && !status.is_learner && status.errors.is_empty()
        })
        .await;
    assert_eq!(read_all(&cluster.store(victim)).await.kvs.len(), 22);
}

//! Bugs that etcd had since 2022 and that need crashes or peers, as scenarios. The
//! numbers are those of etcd's issues, listed in its `tests/robustness/README.md`;
//! the ones that show at the wire are in `crates/etcd/tests/wire/incidents.rs`.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use kontiki_store::{
    AuthChange, DeleteRangeRequest, KeyRange, Op, Operations as _, Store as _, TxnRequest,
};
use std::collections::BTreeMap;
use support::{Cluster, read, read_all, write};

async fn delete(cluster: &Cluster, at: usize, key: &str) {
    let deletion = TxnRequest {
        success: vec![Op::DeleteRange(DeleteRangeRequest {
            range: KeyRange::one(key.to_owned()),
            ..Default::default()
        })],
        ..TxnRequest::default()
    };
    let deleted = cluster.store(at).txn(deletion).await;
    deleted.expect("a deletion");
}

/// Waits until every member holds the same, and compares all of it.
async fn assert_all_equal(cluster: &Cluster) {
    let revision = cluster.store(0).read_barrier().await.expect("a quorum");
    let mut hashes = BTreeMap::new();
    for at in cluster.running() {
        let held = |status: &kontiki_store::StoreStatus| status.revision >= revision;
        cluster.wait_status(at, "everything applied", held).await;
        cluster.store(at).read_barrier().await.expect("a quorum");
        let content = cluster.store(at);
        let content = content.state_machine();
        hashes.insert(at, content.state_hash().expect("a hash"));
    }
    let first = hashes.values().next();
    assert!(
        hashes.values().all(|hash| Some(hash) == first),
        "the replicas differ: {hashes:?}"
    );
}

/// 14370: the only member acknowledged a write before it was on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_alone_loses_nothing_that_it_acknowledged() {
    let mut cluster = Cluster::started(1, 14_370).await;
    for round in 0..15 {
        let value = round.to_string();
        write(&cluster.store(0), "key", &value).await;
        cluster.kill(0);
        cluster.start(0).await;
        cluster.wait_leader().await;
        let found = read(&cluster.store(0), "key").await.expect("a read");
        assert_eq!(found, Some(value));
    }
}

/// 13766: a crash under load left the index of what was applied and the data
/// apart, so that entries were applied twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_power_cut_of_everybody_under_load_leaves_equal_replicas() {
    let mut cluster = Cluster::started(3, 13_766).await;
    for round in 0..4 {
        let writers = (0..9).map(|writer| {
            let store = cluster.store(writer % 3);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for count in 0.. {
                    let key = format!("{round}/{writer}/{count}");
                    if store.txn(support::put(&key, "v")).await.is_err() {
                        break;
                    }
                    acknowledged.push(key);
                }
                acknowledged
            })
        });
        let writers: Vec<_> = writers.collect();
        let floor = cluster.status(0).revision + 150;
        cluster
            .wait_status(0, "some load", |status| status.revision > floor)
            .await;
        for at in 0..3 {
            cluster.kill(at);
        }
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(writer.await.expect("a writer"));
        }
        for at in 0..3 {
            cluster.start(at).await;
        }
        cluster.wait_leader().await;
        let all = read_all(&cluster.store(0)).await;
        for key in &acknowledged {
            let found = all.kvs.iter().find(|kv| kv.key == key.as_bytes());
            let found = found.unwrap_or_else(|| panic!("{key} was lost"));
            assert_eq!(found.version, 1, "{key} was applied twice");
        }
        assert_all_equal(&cluster).await;
    }
}

/// 17780: a crash after a compaction that left no key made the revision go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_revision_does_not_go_back_when_a_compaction_leaves_no_key() {
    let mut cluster = Cluster::started(3, 17_780).await;
    for physical in [true, false] {
        write(&cluster.store(0), "key", "value").await;
        delete(&cluster, 0, "key").await;
        let before = cluster.status(0).revision;
        let compacted = cluster.store(0).compact(before, physical).await;
        compacted.expect("a compaction");
        for at in 0..3 {
            cluster.kill(at);
        }
        for at in 0..3 {
            cluster.start(at).await;
        }
        cluster.wait_leader().await;
        let after = cluster.store(1).read_barrier().await.expect("a quorum");
        assert!(after >= before, "{after} after {before}");
        let written = write(&cluster.store(1), "key", "again").await;
        assert!(written.header.revision > before);
        assert_all_equal(&cluster).await;
    }
}

/// 18055: two snapshots for one member within a short time made it panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_takes_one_snapshot_after_the_other() {
    let mut cluster = Cluster::started(3, 18_055).await;
    for round in 0..4 {
        let leader = cluster.wait_leader().await;
        let behind = (leader + 1) % 3;
        cluster.kill(behind);
        // More than the log keeps.
        for count in 0..150 {
            write(&cluster.store(leader), &format!("{round}/{count}"), "v").await;
        }
        cluster.start(behind).await;
        // It is cut short while it takes one, and needs another.
        if round % 2 == 0 {
            cluster.kill(behind);
            cluster.start(behind).await;
        }
        assert_all_equal(&cluster).await;
    }
}

/// 14571: members that were enabled to ask for passwords at different points of
/// their log refused different writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn users_come_with_the_snapshot_and_are_the_same_everywhere() {
    let mut cluster = Cluster::started(3, 14_571).await;
    let leader = cluster.wait_leader().await;
    let behind = (leader + 1) % 3;
    cluster.kill(behind);
    let name = || "root".to_owned();
    let changes = [
        AuthChange::UserAdd {
            name: name(),
            password_hash: "hash".into(),
            no_password: false,
        },
        AuthChange::RoleAdd { name: name() },
        AuthChange::UserGrantRole {
            name: name(),
            role: name(),
        },
        AuthChange::Enable {
            secret: "secret".into(),
        },
    ];
    for change in changes {
        let changed = cluster.store(leader).change_auth(change).await;
        changed.expect("a change of the users");
    }
    for count in 0..150 {
        write(&cluster.store(leader), &format!("key/{count}"), "v").await;
    }
    cluster.start(behind).await;
    let known = cluster.store(leader).auth();
    // Checked at an older state of the users: refused everywhere, applied nowhere.
    for at in [leader, behind] {
        let refused = cluster
            .store(at)
            .txn_permitted(support::put("refused", "v"), known.revision - 1)
            .await;
        refused.expect_err("the users have changed since");
        let taken = cluster
            .store(at)
            .txn_permitted(support::put("taken", "v"), known.revision)
            .await;
        taken.expect("nothing has changed since");
    }
    assert_eq!(cluster.store(behind).auth(), known);
    assert_eq!(read(&cluster.store(behind), "refused").await, Ok(None));
    assert_all_equal(&cluster).await;
}

//! The membership changes while the cluster runs.

#[expect(dead_code, reason = "each test binary uses its part")]
mod support;

use kontiki_raft::InitialMember;
use kontiki_store::{LeaseId, Member, MemberChange, MemberError, Operations, Store, StoreError};
use kontiki_wal::Clock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, read, read_all, write};

fn add(name: &str, learner: bool) -> MemberChange {
    MemberChange::Add {
        peer_address: format!("{name}:2380"),
        learner,
    }
}

async fn changed(cluster: &Cluster, at: usize, change: MemberChange) -> (Member, Vec<Member>) {
    let insist = async {
        loop {
            match cluster.store(at).change_member(change.clone()).await {
                Ok(changed) => return changed,
                Err(StoreError::Member(MemberError::Busy | MemberError::LearnerNotReady)) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
    };
    cluster
        .or_explain("a change of the membership", insist)
        .await
}

async fn refused(cluster: &Cluster, at: usize, change: MemberChange) -> MemberError {
    match cluster.store(at).change_member(change.clone()).await {
        Err(StoreError::Member(error)) => error,
        other => panic!("{change:?}: {other:?}"),
    }
}

async fn wait_members(
    cluster: &Cluster,
    at: usize,
    what: &str,
    wanted: impl Fn(&[Member]) -> bool,
) -> Vec<Member> {
    let reached = async {
        loop {
            let members = cluster.store(at).members().await.expect("members");
            if wanted(&members) {
                return members;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    cluster.or_explain(what, reached).await
}

fn id_of(cluster: &Cluster, at: usize) -> u64 {
    cluster.status(at).member_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_added_member_joins_catches_up_and_votes_by_itself() {
    let mut cluster = Cluster::started(1, 21).await;
    write(&cluster.store(0), "before", "x").await;
    let (added, members) = changed(&cluster, 0, add("d", false)).await;
    assert_eq!(
        (added.name.as_str(), members.len()),
        ("", 2),
        "not started yet"
    );
    assert!(
        added.is_learner,
        "what does not run never counts for the quorum"
    );
    write(&cluster.store(0), "meanwhile", "x").await;

    let new = cluster.prepare("d");
    cluster.start(new).await;
    let members = wait_members(&cluster, 0, "a second voter", |members| {
        members.iter().all(|member| !member.is_learner)
    })
    .await;
    assert!(
        members
            .iter()
            .any(|member| member.id == added.id && member.name == "d")
    );
    assert_eq!(id_of(&cluster, new), added.id);
    assert_eq!(cluster.status(new).cluster_id, cluster.status(0).cluster_id);
    cluster
        .or_explain("a write", write(&cluster.store(new), "after", "x"))
        .await;
    assert_eq!(
        read_all(&cluster.store(new)).await.kvs,
        read_all(&cluster.store(0)).await.kvs
    );

    // It needs nothing but its own disk to come back.
    cluster.kill(new);
    cluster.start(new).await;
    cluster
        .or_explain("a write", write(&cluster.store(new), "again", "x"))
        .await;
    assert_eq!(id_of(&cluster, new), added.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_learner_stays_one_until_it_is_promoted() {
    let mut cluster = Cluster::started(1, 22).await;
    let (added, _) = changed(&cluster, 0, add("d", true)).await;
    let promote = MemberChange::Promote { id: added.id };
    assert_eq!(
        refused(&cluster, 0, promote.clone()).await,
        MemberError::LearnerNotReady,
        "it does not run yet"
    );
    let new = cluster.prepare("d");
    cluster.start(new).await;
    cluster
        .or_explain("a write", write(&cluster.store(new), "k", "v"))
        .await;
    let read_there = read(&cluster.store(new), "k").await;
    assert_eq!(
        read_there.expect("a learner serves reads").as_deref(),
        Some("v")
    );
    let own = MemberChange::Promote {
        id: id_of(&cluster, 0),
    };
    assert_eq!(refused(&cluster, new, own).await, MemberError::NotLearner);
    let learner = |members: &[Member]| members.iter().any(|member| member.is_learner);
    assert!(learner(&cluster.store(0).members().await.expect("members")));
    // Asked of the learner itself, carried out by the leader.
    changed(&cluster, new, promote).await;
    wait_members(&cluster, new, "a voter", |members| !learner(members)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_that_cannot_be_are_refused() {
    let mut cluster = Cluster::started(3, 23).await;
    let leader = cluster.wait_leader().await;
    let unknown = 12_345;
    for (change, error) in [
        (MemberChange::Remove { id: unknown }, MemberError::NotFound),
        (MemberChange::Promote { id: unknown }, MemberError::NotFound),
        (
            MemberChange::Readdress {
                id: unknown,
                peer_address: "x:1".into(),
            },
            MemberError::NotFound,
        ),
        (
            MemberChange::Readdress {
                id: id_of(&cluster, 0),
                peer_address: "b:2380".into(),
            },
            MemberError::AddressExists,
        ),
        (add("a", false), MemberError::AddressExists),
    ] {
        assert_eq!(refused(&cluster, leader, change).await, error);
    }
    // With one dead, removing a living one would leave no quorum.
    let (dead, living) = ((leader + 1) % 3, (leader + 2) % 3);
    let (dead_id, living_id) = (id_of(&cluster, dead), id_of(&cluster, living));
    cluster.kill(dead);
    let remove = MemberChange::Remove { id: living_id };
    let told = async {
        loop {
            match cluster.store(leader).change_member(remove.clone()).await {
                Err(StoreError::Member(MemberError::NotEnoughStarted)) => return,
                // The dead one counts as alive for a moment.
                Ok(_) => panic!("the quorum was given up"),
                Err(_) => {}
            }
        }
    };
    tokio::time::sleep(Duration::from_millis(900)).await;
    cluster.or_explain("the refusal", told).await;
    changed(&cluster, leader, MemberChange::Remove { id: dead_id }).await;
    write(&cluster.store(living), "two of two", "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_removed_member_stays_out_even_with_an_empty_disk() {
    let mut cluster = Cluster::started(3, 24).await;
    let leader = cluster.wait_leader().await;
    let gone = (leader + 1) % 3;
    let id = id_of(&cluster, gone);
    changed(&cluster, gone, MemberChange::Remove { id }).await;
    cluster.kill(gone);
    cluster.wipe(gone);
    cluster.start(gone).await;
    cluster
        .wait_status(gone, "the news", |status| {
            status
                .errors
                .iter()
                .any(|error| error.contains("was removed"))
        })
        .await;
    assert_eq!(
        cluster
            .store(leader)
            .members()
            .await
            .expect("members")
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_leader_can_be_removed_and_another_asked_to_lead() {
    let cluster = Cluster::started(3, 25).await;
    let leader = cluster.wait_leader().await;
    let other = (leader + 1) % 3;
    assert!(matches!(
        cluster
            .store(other)
            .move_leader(id_of(&cluster, other))
            .await,
        Err(StoreError::Member(MemberError::NotLeader))
    ));
    assert!(matches!(
        cluster.store(leader).move_leader(99).await,
        Err(StoreError::Member(MemberError::BadTransferee))
    ));
    cluster
        .store(leader)
        .move_leader(id_of(&cluster, other))
        .await
        .expect("a new leader");
    cluster
        .wait_status(other, "the lead", |status| status.is_leader())
        .await;
    changed(
        &cluster,
        leader,
        MemberChange::Remove {
            id: id_of(&cluster, other),
        },
    )
    .await;
    let third = 3 - leader - other;
    write(&cluster.store(third), "k", "v").await;
    assert_eq!(
        cluster.store(third).members().await.expect("members").len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_moves_is_found_at_its_new_address() {
    let mut cluster = Cluster::started(3, 26).await;
    let leader = cluster.wait_leader().await;
    let moving = (leader + 1) % 3;
    let id = id_of(&cluster, moving);
    // Told to the cluster first, as an operator without a shared configuration does.
    cluster.kill(moving);
    let change = MemberChange::Readdress {
        id,
        peer_address: "elsewhere:2380".into(),
    };
    changed(&cluster, leader, change).await;
    relocate(&mut cluster, moving, "elsewhere:2380");
    cluster.start(moving).await;
    cluster
        .or_explain("a write", write(&cluster.store(moving), "k", "1"))
        .await;

    // Or only to its own configuration: it tells the others.
    cluster.kill(moving);
    relocate(&mut cluster, moving, "yet/elsewhere:2380");
    cluster.start(moving).await;
    wait_members(&cluster, leader, "the news", |members| {
        let moved = members.iter().find(|member| member.id == id);
        moved.is_some_and(|member| member.peer_addresses == ["yet/elsewhere:2380"])
    })
    .await;
    cluster
        .or_explain("a write", write(&cluster.store(moving), "k", "2"))
        .await;
}

fn relocate(cluster: &mut Cluster, at: usize, address: &str) {
    cluster.configure(at, |config| {
        config.listen_peer = address.to_owned();
        let name = config.name.clone();
        let own: Vec<&mut InitialMember> = config
            .initial_cluster
            .iter_mut()
            .filter(|m| m.name == name)
            .collect();
        own.into_iter()
            .for_each(|own| own.peer_address = address.to_owned());
    });
    cluster.nodes[at].address = address.to_owned();
}

/// Stands still unless it is told to go on.
#[derive(Default)]
struct HandClock(Mutex<Duration>);

impl HandClock {
    fn go_on(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lease_ends_early_when_the_leader_changes() {
    const TTL: Duration = Duration::from_secs(2);
    const NEARLY: Duration = Duration::from_millis(1_900);
    let mut cluster = Cluster::new(3, 27);
    let clocks: Vec<Arc<HandClock>> = (0..3).map(|_| Arc::default()).collect();
    for (at, clock) in clocks.iter().enumerate() {
        // Clocks of different machines have nothing to do with each other.
        clock.go_on(Duration::from_secs(1_000 * at as u64));
        cluster.nodes[at].clock = clock.clone();
        cluster.start(at).await;
    }
    let first = cluster.wait_leader().await;
    let lease = cluster
        .store(first)
        .lease_grant(0, 2)
        .await
        .expect("a lease")
        .id;
    clocks[first].go_on(NEARLY);
    for round in 0..3 {
        let leader = cluster.wait_leader().await;
        let heir = (leader + 1) % 3;
        let to = id_of(&cluster, heir);
        cluster
            .store(leader)
            .move_leader(to)
            .await
            .expect("a new leader");
        // The old leader's time is nobody's any more.
        clocks[leader].go_on(TTL * 10);
        wait_remaining(&cluster, heir, lease, |left| left == 2, round).await;
        clocks[heir].go_on(NEARLY);
        wait_remaining(&cluster, heir, lease, |left| left == 1, round).await;
    }
    let leader = cluster.wait_leader().await;
    clocks[leader].go_on(TTL);
    wait_remaining(&cluster, leader, lease, |left| left == -1, 3).await;
}

async fn wait_remaining(
    cluster: &Cluster,
    at: usize,
    lease: LeaseId,
    wanted: impl Fn(i64) -> bool,
    round: usize,
) {
    let reached = async {
        loop {
            match cluster.store(at).lease_info(lease, false).await {
                Ok(info) if wanted(info.ttl_seconds) => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    cluster
        .or_explain(&format!("the lease in round {round}"), reached)
        .await;
}

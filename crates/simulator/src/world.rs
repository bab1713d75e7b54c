//! The cluster and its time.

use crate::bugs::Bug;
use crate::ledger::Ledger;
use crate::network::{Delay, SimNetwork};
use crate::node::{Node, Pace};
use kontiki_checker::HashSample;
use kontiki_mvcc::conformance::Random;
use kontiki_raft::{InitialMember, InitialState, ReplicatedConfig, StoreLimits, Timing};
use kontiki_store::Store;
use std::time::Duration;

/// How far time moves at once; also the least that the network takes.
const TICK: Duration = Duration::from_millis(1);
/// Of the members; the one after the last is the spare one.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Everything that is simulated, but for those who trouble it.
pub(crate) struct World {
    pub now: Duration,
    pub nodes: Vec<Node>,
    pub network: SimNetwork,
    pub ledger: Ledger,
}

impl World {
    /// A cluster of `members`, none of which runs yet, and a spare one.
    pub(crate) fn new(members: usize, seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        let member = |name: &&str| InitialMember {
            name: (*name).to_owned(),
            peer_address: format!("{name}:2380"),
        };
        let initial: Vec<InitialMember> = NAMES[..members].iter().map(member).collect();
        let with_spare: Vec<InitialMember> = NAMES[..=members].iter().map(member).collect();
        let addresses = with_spare.iter().map(|member| member.peer_address.clone());
        let usual = Delay {
            min: 1,
            max: [1, 2, 5][random.below(3)],
        };
        let network = SimNetwork::new(addresses.collect(), random.number(), usual);
        let ledger = Ledger::default();
        let limits = limits(&mut random);
        let auto_compaction = random.one_in(4).then_some(Duration::from_secs(2));
        if auto_compaction.is_some() {
            ledger.compacts_itself();
        }
        let nodes = with_spare.iter().enumerate().map(|(number, member)| {
            let spare = number == members;
            let cluster = if spare { &with_spare } else { &initial };
            let mut config = ReplicatedConfig::new("/data", &member.name, cluster.clone());
            if spare {
                config.initial_state = InitialState::Existing;
            }
            config.timing = Timing {
                heartbeat: Duration::from_millis(50),
                election_min: Duration::from_millis(150),
                election_max: Duration::from_millis(300),
            };
            config.limits = limits;
            config.auto_compaction = auto_compaction;
            let mut node = Node::new(
                number,
                config,
                network.clone(),
                ledger.clone(),
                random.number(),
                bug,
            );
            node.enrolled = !spare;
            let start_at = Duration::from_millis(random.below(300) as u64);
            node.start_at = Some(start_at).filter(|_| !spare);
            // The clocks of machines differ by less than this.
            node.rate = 995 + random.below(11) as u64;
            node.set_pace(Pace {
                min: 0,
                max: [0, 1, 4][random.below(3)],
            });
            node
        });
        Self {
            now: Duration::ZERO,
            nodes: nodes.collect(),
            network,
            ledger,
        }
    }

    /// Moves everything by one tick.
    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        self.ledger.set_now(self.now);
        self.network.advance(self.now);
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.start_at.is_some_and(|at| at <= self.now) {
                self.ledger.trace(format!("member {at}: starts"));
                node.start(self.now);
            }
            node.advance(self.now);
            if node.disk.is_dead() {
                self.ledger.trace(format!(
                    "member {at}: lost its power in the middle of a write"
                ));
                node.power_off();
                node.start_at = Some(self.now + Duration::from_millis(200));
            }
            if node.has_stopped() {
                self.ledger
                    .trace(format!("member {at}: has stopped in good order"));
                node.kill();
                node.start_at = Some(self.now + Duration::from_millis(50));
            }
        }
    }

    /// Where the spare member is.
    pub(crate) fn spare_at(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The spare member.
    pub(crate) fn spare(&self) -> &Node {
        &self.nodes[self.spare_at()]
    }

    /// The spare member was added: it is started, with an empty disk.
    pub(crate) fn enrol_spare(&mut self, seed: u64) {
        let (at, now) = (self.spare_at(), self.now);
        let node = &mut self.nodes[at];
        node.replace_disk(seed);
        node.enrolled = true;
        node.start_at = Some(now);
    }

    /// The spare member was removed: it is stopped for good.
    pub(crate) fn dismiss_spare(&mut self) {
        let at = self.spare_at();
        let node = &mut self.nodes[at];
        node.kill();
        node.enrolled = false;
        node.start_at = None;
    }

    /// The members, without a spare one that is none.
    pub(crate) fn members(&self) -> Vec<usize> {
        let enrolled = self.nodes.iter().filter(|node| node.enrolled);
        enrolled.map(|node| node.number).collect()
    }

    /// A member that believes it leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |member: &usize| {
            let store = self.nodes[*member].store();
            store.is_some_and(|store| store.status().borrow().is_leader())
        };
        (0..self.nodes.len()).find(leads)
    }

    /// Whether every member runs and has joined; the spare one may be a learner.
    pub(crate) fn is_whole(&self) -> bool {
        let spare = self.spare_at();
        self.nodes.iter().filter(|node| node.enrolled).all(|node| {
            !node.is_stopping()
                && node.store().is_some_and(|store| {
                    let status = store.status();
                    let status = status.borrow();
                    let joined = !status.is_learner || node.number == spare;
                    joined && status.leader_id != 0 && status.errors.is_empty()
                })
        })
    }

    /// Whether every member has applied the same.
    pub(crate) fn is_even(&self) -> bool {
        let enrolled = self.nodes.iter().filter(|node| node.enrolled);
        let applied = enrolled.map(|node| {
            let status = node.store()?.status();
            let status = status.borrow();
            Some((status.applied_index, status.revision))
        });
        let applied: Vec<_> = applied.collect();
        applied[0].is_some() && applied.iter().all(|place| *place == applied[0])
    }

    /// Takes the hashes of a member.
    pub(crate) fn sample(&self, member: usize) {
        let Some(store) = self.nodes[member].store() else {
            return;
        };
        let content = store.state_machine();
        let applied_index = store.status().borrow().applied_index;
        if applied_index == 0 {
            // It has not applied anything since it was started, and cannot say where it stands.
            return;
        }
        if let (Ok(keys), Ok(state)) = (content.hash_kv(0), content.state_hash()) {
            self.ledger.sampled(HashSample {
                member,
                applied_index,
                revision: keys.revision,
                compact_revision: keys.compact_revision,
                keys: keys.hash,
                state,
            });
        }
    }
}

/// Small bounds, so that everything that happens rarely happens often.
fn limits(random: &mut Random) -> StoreLimits {
    StoreLimits {
        wal_segment_bytes_max: [4 << 10, 16 << 10, 64 << 10][random.below(3)],
        wal_cache_bytes_max: [1 << 10, 8 << 10][random.below(2)],
        log_entries_max: [20, 60, 200][random.below(3)],
        log_entries_kept: [2, 10, 50][random.below(3)],
        log_check_every: Duration::from_millis([50, 200][random.below(2)]),
        log_bytes_max: [32 << 10, 256 << 20][random.below(2)],
        batch_requests_max: [1, 4, 512][random.below(3)],
        batches_in_flight_max: [1, 4, 16][random.below(3)],
        request_timeout: Duration::from_secs(2),
        ..StoreLimits::default()
    }
}

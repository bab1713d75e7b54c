//! One history from one seed.

use crate::bugs::Bug;
use crate::ledger::digest;
use crate::nemesis::{Nemesis, Troubles};
use crate::watchers::Watchers;
use crate::workload::{Workload, call};
use crate::world::World;
use kontiki_checker::{Clocks, History, Request, Summary, check};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, TxnRequest};
use std::time::Duration;

/// Clients of a cluster.
const CLIENTS: usize = 5;
/// Between two looks at the watches and hashes.
const LOOK_EVERY_MS: u64 = 10;
/// Looks at the watches until everything must have been delivered.
const SETTLE_LOOKS: usize = 100;
/// A cluster that nobody troubles any more is whole again after this long.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Calls that took longer went to a process that died.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Slower by half a percent and faster by half a percent.
const CLOCKS: Clocks = Clocks {
    drift: 0.012,
    error: Duration::from_millis(10),
};

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// For how long the cluster is troubled.
    pub troubled_for: Duration,
    /// By what.
    pub troubles: Troubles,
    /// A planted bug.
    pub bug: Option<Bug>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            troubled_for: Duration::from_secs(10),
            troubles: Troubles::All,
            bug: None,
        }
    }
}

/// A history without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it held.
    pub summary: Summary,
    /// Equal for equal histories.
    pub digest: u64,
    /// Simulated time.
    pub lasted: Duration,
    /// Bytes between members.
    pub network_bytes: u64,
}

/// A history that shows a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub what: String,
    /// Equal for equal histories.
    pub digest: u64,
    /// Everything that happened.
    pub trace: Vec<String>,
}

/// Simulates a cluster and checks what its clients saw.
pub fn simulate(plan: &Plan) -> Result<Report, Box<Failure>> {
    kontiki_raft::seed_this_thread(plan.seed);
    let mut random = Random::new(plan.seed);
    let members = if random.one_in(5) { 5 } else { 3 };
    let mut world = World::new(members, random.number(), plan.bug);
    crate::panics::listen(&world.ledger);
    let ended = run(plan, &mut world, &mut random);
    crate::panics::stop_listening();
    let panics = world.ledger.panics();
    let (lasted, network_bytes) = (world.now, world.network.carried());
    let ledger = world.ledger.clone();
    drop(world);
    let (history, trace): (History, _) = ledger.take();
    let digest = digest(&trace);
    let verdict = match (panics.first(), ended) {
        (Some(panic), _) => Err(format!("the store panicked: {panic}")),
        (None, ended) => {
            // What was seen is wrong or right even when the end was never reached.
            let checked = check(&history, CLOCKS).map_err(|violation| violation.to_string());
            checked.and_then(|summary| ended.map(|()| summary))
        }
    };
    match verdict {
        Ok(summary) => Ok(Report {
            summary,
            digest,
            lasted,
            network_bytes,
        }),
        Err(what) => Err(Box::new(Failure {
            what,
            digest,
            trace,
        })),
    }
}

fn run(plan: &Plan, world: &mut World, random: &mut Random) -> Result<(), String> {
    let members = world.nodes.len();
    let mut watchers = Watchers::new(members, 4, random.number(), plan.bug);
    let mut workload = Workload::new(CLIENTS, members, random.number(), plan.bug);
    wait(world, "the cluster to come into being", &mut |world| {
        world.is_whole()
    })?;
    let until = world.now + plan.troubled_for;
    let mut nemesis = Nemesis::new(random.number(), world.now, plan.troubles);
    let mut look = 0;
    while world.now < until {
        workload.step(world);
        nemesis.step(world);
        look += 1;
        if look % LOOK_EVERY_MS == 0 {
            watchers.tend(world);
        }
        if random.one_in(40) {
            world.sample(random.below(members));
        }
        if random.one_in(1500) {
            watchers.shake(3);
        }
        world.tick();
        if !world.ledger.panics().is_empty() {
            return Ok(());
        }
    }
    nemesis.relent(world);
    world.ledger.trace("the trouble is over");
    let mut recover = |world: &mut World| {
        nemesis.tend(world);
        world.is_whole() && nemesis.is_idle()
    };
    wait(world, "the cluster to recover", &mut recover)?;
    settle(world, &mut watchers)
}

/// Everybody writes and reads once more, and all that was written must show.
fn settle(world: &mut World, watchers: &mut Watchers) -> Result<(), String> {
    for member in world.members() {
        let put = PutRequest {
            key: "k/last".into(),
            value: format!("last {member}").into(),
            ..PutRequest::default()
        };
        let request = Request::Txn(TxnRequest {
            success: vec![Op::Put(put)],
            ..TxnRequest::default()
        });
        ask(world, member, request, watchers)?;
    }
    for member in world.members() {
        let request = Request::Range(RangeRequest {
            range: KeyRange::prefix("k"),
            ..RangeRequest::default()
        });
        ask(world, member, request, watchers)?;
    }
    wait(world, "the members to be even", &mut |world| {
        world.is_even()
    })?;
    for member in world.members() {
        world.sample(member);
    }
    watchers.hurry();
    for _ in 0..SETTLE_LOOKS {
        watchers.tend(world);
        for _ in 0..LOOK_EVERY_MS {
            world.tick();
        }
    }
    watchers.settle(world);
    Ok(())
}

/// Calls until it is answered.
fn ask(
    world: &mut World,
    member: usize,
    request: Request,
    watchers: &mut Watchers,
) -> Result<(), String> {
    let mut number = call(world, member, request.clone(), None);
    let mut called = world.now;
    wait(world, "an answer", &mut |world| {
        watchers.tend(world);
        let answer = world.ledger.answer(number);
        if matches!(answer, Some(Ok(_))) {
            return true;
        }
        // Who was called may have died; the store itself answers long before.
        if answer.is_some() || world.now >= called + ANSWER_MAX {
            number = call(world, member, request.clone(), None);
            called = world.now;
        }
        false
    })
}

fn wait(
    world: &mut World,
    what: &str,
    done: &mut dyn FnMut(&mut World) -> bool,
) -> Result<(), String> {
    let until = world.now + RECOVERY_MAX;
    while !done(world) {
        if world.now >= until {
            let statuses: Vec<String> = world.nodes.iter().map(describe).collect();
            return Err(format!(
                "waited in vain for {what}: {}",
                statuses.join("; ")
            ));
        }
        world.tick();
        if !world.ledger.panics().is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn describe(node: &crate::node::Node) -> String {
    use kontiki_store::Store;
    match node.store() {
        Some(store) => format!("{:?}", *store.status().borrow()),
        None => format!("member {} does not run", node.number),
    }
}

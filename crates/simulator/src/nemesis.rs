//! Whoever troubles the cluster.

use crate::network::Delay;
use crate::node::{Pace, SET_ASIDE};
use crate::operator::Operator;
use crate::world::World;
use kontiki_mvcc::conformance::Random;
use kontiki_wal::SimFault;
use std::path::Path;
use std::time::Duration;

/// What a running member says whose data is of no use any more.
const MOVE_AWAY: &str = "data directory away";

/// What can be done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Kill,
    PowerOff,
    PowerOffAll,
    DieInWrite,
    StopInGoodOrder,
    Freeze,
    Isolate,
    CutOneWay,
    CutPair,
    SlowLinks,
    ResetLinks,
    SlowDisk,
    FailingDisk,
    FullDisk,
    LoseDisk,
    DamageDisk,
    FlushEngine,
    SetClock,
    AddMember,
    PromoteMember,
    RemoveMember,
    MoveLeader,
}

const TROUBLES: [(usize, Trouble); 22] = [
    (4, Trouble::Kill),
    (5, Trouble::PowerOff),
    (1, Trouble::PowerOffAll),
    (3, Trouble::DieInWrite),
    (2, Trouble::StopInGoodOrder),
    (5, Trouble::Freeze),
    (5, Trouble::Isolate),
    (4, Trouble::CutOneWay),
    (3, Trouble::CutPair),
    (3, Trouble::SlowLinks),
    (3, Trouble::ResetLinks),
    (3, Trouble::SlowDisk),
    (2, Trouble::FailingDisk),
    (2, Trouble::FullDisk),
    (1, Trouble::LoseDisk),
    (1, Trouble::DamageDisk),
    (3, Trouble::FlushEngine),
    (2, Trouble::SetClock),
    (4, Trouble::AddMember),
    (2, Trouble::PromoteMember),
    (2, Trouble::RemoveMember),
    (2, Trouble::MoveLeader),
];

/// Which troubles a history is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Troubles {
    /// All kinds, in a mixture that the seed draws.
    All,
    /// Leaders that freeze or lose touch, so that another leads beside them.
    Splits,
}

const SPLITS: [(usize, Trouble); 2] = [(1, Trouble::Freeze), (3, Trouble::Isolate)];

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
enum Relief {
    Cut(usize, usize),
    Delay(usize, usize),
    Pace(usize),
    Room(usize),
    Restart(usize),
}

/// Its plans.
pub(crate) struct Nemesis {
    random: Random,
    troubles: Troubles,
    weights: Vec<(usize, Trouble)>,
    next_at: Duration,
    mean_ms: usize,
    reliefs: Vec<(Duration, Relief)>,
    /// A cluster survives the loss of one disk, not of two.
    disk_lost: bool,
    usual_pace: Pace,
    operator: Operator,
}

impl Nemesis {
    pub(crate) fn new(seed: u64, from: Duration, troubles: Troubles) -> Self {
        let mut random = Random::new(seed);
        let drawn = TROUBLES.map(|(weight, trouble)| {
            let factor = [0, 1, 1, 4][random.below(4)];
            (weight * factor, trouble)
        });
        let weights = match troubles {
            Troubles::All => [&drawn[..], &[(2, Trouble::PowerOff)]].concat(),
            Troubles::Splits => SPLITS.to_vec(),
        };
        Self {
            troubles,
            mean_ms: [150, 400, 1000][random.below(3)],
            operator: Operator::new(random.number()),
            random,
            weights,
            next_at: from,
            reliefs: Vec::new(),
            disk_lost: false,
            usual_pace: Pace { min: 0, max: 2 },
        }
    }

    pub(crate) fn step(&mut self, world: &mut World) {
        let due: Vec<Relief> = {
            let (due, later) = self.reliefs.drain(..).partition(|(at, _)| *at <= world.now);
            self.reliefs = later;
            let due: Vec<(Duration, Relief)> = due;
            due.into_iter().map(|(_, relief)| relief).collect()
        };
        for relief in due {
            self.relieve(world, relief);
        }
        self.tend(world);
        if world.now >= self.next_at {
            let pause = 1 + self.random.below(2 * self.mean_ms) as u64;
            self.next_at = world.now + Duration::from_millis(pause);
            let trouble = self.draw();
            self.trouble(world, trouble);
        }
    }

    /// Ends every trouble; whoever is down is started.
    pub(crate) fn relent(&mut self, world: &mut World) {
        for (_, relief) in std::mem::take(&mut self.reliefs) {
            self.relieve(world, relief);
        }
        world.network.heal();
        self.operator.relent();
        for node in &mut world.nodes {
            node.disk.set_capacity(None);
            node.frozen_until = node.frozen_until.map(|_| world.now);
            node.set_pace(self.usual_pace);
            if node.enrolled && !node.is_running() && node.start_at.is_none() {
                node.start_at = Some(world.now);
            }
        }
    }

    /// Whether no change of the membership is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.operator.is_idle()
    }

    /// What people do all the time.
    pub(crate) fn tend(&mut self, world: &mut World) {
        self.tend_refusals(world);
        self.operator.tend(world);
    }

    /// What is done about a member that does not start or has stopped working: it is
    /// started again, without its data once its peers have agreed to that.
    fn tend_refusals(&mut self, world: &mut World) {
        for at in 0..world.nodes.len() {
            let node = &mut world.nodes[at];
            let Some(reason) = node.refusal().or_else(|| node.says(MOVE_AWAY)) else {
                continue;
            };
            node.kill();
            node.start_at = Some(world.now + Duration::from_millis(100));
            if reason.contains(SET_ASIDE) {
                world
                    .ledger
                    .trace(format!("member {at}: its data is set aside"));
                node.replace_disk(self.random.number());
            }
        }
    }

    fn draw(&mut self) -> Trouble {
        let sum = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(sum);
        for (weight, trouble) in &self.weights {
            if drawn < *weight {
                return *trouble;
            }
            drawn -= weight;
        }
        Trouble::PowerOff
    }

    fn millis(&mut self, min: usize, max: usize) -> Duration {
        Duration::from_millis((min + self.random.below(max - min)) as u64)
    }

    fn later(&mut self, world: &World, after: Duration, relief: Relief) {
        self.reliefs.push((world.now + after, relief));
    }

    fn trouble(&mut self, world: &mut World, trouble: Trouble) {
        let members = world.nodes.len();
        let drawn = self.random.below(members);
        let at = match self.troubles {
            Troubles::All => drawn,
            Troubles::Splits => world.leader().unwrap_or(drawn),
        };
        let other = (at + 1 + self.random.below(members - 1)) % members;
        world
            .ledger
            .trace(format!("nemesis: {trouble:?} {at} {other}"));
        match trouble {
            Trouble::Kill | Trouble::PowerOff | Trouble::DieInWrite | Trouble::StopInGoodOrder => {
                self.end_process(world, trouble, at);
            }
            Trouble::PowerOffAll => {
                for at in 0..members {
                    self.end_process(world, Trouble::PowerOff, at);
                }
            }
            Trouble::Freeze => {
                let span = self.millis(20, 3000);
                world.nodes[at].frozen_until = Some(world.now + span);
            }
            Trouble::Isolate | Trouble::CutOneWay | Trouble::CutPair | Trouble::SlowLinks => {
                self.trouble_links(world, trouble, at, other);
            }
            Trouble::ResetLinks => world.network.reset(at, other),
            Trouble::SlowDisk => {
                let max = 20 + self.random.below(500) as u64;
                world.nodes[at].set_pace(Pace { min: 10, max });
                let span = self.millis(100, 2000);
                self.later(world, span, Relief::Pace(at));
            }
            Trouble::FailingDisk => {
                let fault = [SimFault::FailWrite, SimFault::FailSync][self.random.below(2)];
                world.nodes[at].disk.inject(fault);
                let span = self.millis(100, 1500);
                self.later(world, span, Relief::Restart(at));
            }
            Trouble::FullDisk => {
                let node = &world.nodes[at];
                node.disk.set_capacity(Some(node.disk.used_bytes() + 200));
                let span = self.millis(100, 2000);
                self.later(world, span, Relief::Room(at));
            }
            Trouble::LoseDisk | Trouble::DamageDisk => self.lose_disk(world, trouble, at),
            Trouble::FlushEngine => world.nodes[at].flush_engine(),
            Trouble::SetClock => {
                let seconds = self.random.below(7200) as i64 - 3600;
                world.nodes[at].set_wall_offset(seconds);
            }
            Trouble::AddMember => self.operator.add(),
            Trouble::PromoteMember => self.operator.promote(),
            Trouble::RemoveMember => self.operator.remove(),
            Trouble::MoveLeader => self.operator.move_leader(world),
        }
    }

    fn end_process(&mut self, world: &mut World, trouble: Trouble, at: usize) {
        let down_for = self.millis(10, 1500);
        let node = &mut world.nodes[at];
        if !node.is_running() {
            return;
        }
        match trouble {
            Trouble::Kill => node.kill(),
            Trouble::DieInWrite => {
                node.disk.die_after(self.random.below(40) as u64);
                return;
            }
            Trouble::StopInGoodOrder => {
                if !node.is_stopping() {
                    node.stop();
                }
                return;
            }
            _ => node.power_off(),
        }
        node.rate = 995 + self.random.below(11) as u64;
        node.start_at = Some(world.now + down_for);
    }

    fn trouble_links(&mut self, world: &World, trouble: Trouble, at: usize, other: usize) {
        let span = self.millis(50, 3000);
        let cut = match trouble {
            Trouble::CutOneWay => vec![(at, other)],
            Trouble::CutPair => vec![(at, other), (other, at)],
            Trouble::Isolate => (0..world.nodes.len())
                .filter(|peer| *peer != at)
                .flat_map(|peer| [(at, peer), (peer, at)])
                .collect(),
            _ => {
                let delay = Delay {
                    min: 1,
                    max: 10 + self.random.below(400) as u64,
                };
                for (from, to) in [(at, other), (other, at)] {
                    world.network.set_delay(from, to, Some(delay));
                    self.later(world, span, Relief::Delay(from, to));
                }
                return;
            }
        };
        for (from, to) in cut {
            world.network.set_cut(from, to, true);
            self.later(world, span, Relief::Cut(from, to));
        }
    }

    /// Once in a history: the others hold everything that was acknowledged.
    fn lose_disk(&mut self, world: &mut World, trouble: Trouble, at: usize) {
        if self.disk_lost || !world.nodes[at].enrolled {
            return;
        }
        self.disk_lost = true;
        let down_for = self.millis(10, 800);
        let node = &mut world.nodes[at];
        node.power_off();
        node.start_at = Some(world.now + down_for);
        if trouble == Trouble::LoseDisk {
            node.replace_disk(self.random.number());
            return;
        }
        // A bit somewhere in the log has turned.
        let dir = Path::new("/data/wal");
        let mut names = kontiki_wal::Disk::list(&node.disk, dir).unwrap_or_default();
        names.sort_unstable();
        if let Some(name) = names.get(self.random.below(names.len().max(1))) {
            let path = dir.join(name);
            let bits = node
                .disk
                .content(&path)
                .map_or(0, |content| content.len() * 8);
            let bit = self.random.below(bits.max(1));
            world
                .ledger
                .trace(format!("member {at}: bit {bit} of {name} turns"));
            node.disk.flip_bit(&path, bit);
        }
    }

    fn relieve(&mut self, world: &mut World, relief: Relief) {
        world.ledger.trace(format!("nemesis: relief {relief:?}"));
        match relief {
            Relief::Cut(from, to) => world.network.set_cut(from, to, false),
            Relief::Delay(from, to) => world.network.set_delay(from, to, None),
            Relief::Pace(at) => world.nodes[at].set_pace(self.usual_pace),
            Relief::Room(at) => world.nodes[at].disk.set_capacity(None),
            Relief::Restart(at) => {
                let node = &mut world.nodes[at];
                if node.is_running() {
                    node.kill();
                    node.start_at = Some(world.now + Duration::from_millis(20));
                }
            }
        }
    }
}

//! The scenarios: what may happen to a cluster in a run. One line each.

use crate::trial::firewall::Way;
use crate::trial::schedule::{Damaged, During, Fault, Who};
use kontiki_mvcc::conformance::Random;

/// A kind of run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Members of the store.
    pub members: usize,
    /// What a member needs around it.
    pub(crate) needs: Needs,
    /// The next fault.
    pub(crate) draw: fn(&mut Random) -> Fault,
}

/// What has to be prepared before members start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// The first member's data lies on a small file system of its own.
    SmallDisk,
    /// The members' clocks can be set.
    Clocks,
    /// What members say to each other passes a proxy.
    Proxies,
    /// A further machine, for a member that comes and goes.
    Guest,
    /// Whole servers, which are used through the Kubernetes API.
    Servers,
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    members: usize,
    needs: Needs,
    draw: fn(&mut Random) -> Fault,
) -> Scenario {
    Scenario {
        name,
        about,
        members,
        needs,
        draw,
    }
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    scenario(
        "kill-leader",
        "the leader's process is killed",
        3,
        Needs::Nothing,
        |_| Fault::Kill(Who::Leader),
    ),
    scenario(
        "kill-follower",
        "a follower's process is killed",
        3,
        Needs::Nothing,
        |random| Fault::Kill(follower(random)),
    ),
    scenario(
        "kill-all",
        "every process is killed at once",
        3,
        Needs::Nothing,
        |_| Fault::Kill(Who::Everybody),
    ),
    scenario(
        "pause",
        "the leader's or a follower's process stands still",
        3,
        Needs::Nothing,
        |random| Fault::Pause(anybody(random)),
    ),
    scenario(
        "isolate-leader",
        "the leader is cut off from the others, not from clients",
        3,
        Needs::Nothing,
        |_| Fault::Cut(Who::Leader, Way::Both),
    ),
    scenario(
        "isolate-follower",
        "a follower is cut off from the others",
        3,
        Needs::Nothing,
        |random| Fault::Cut(follower(random), Way::Both),
    ),
    scenario(
        "one-way",
        "packets pass in one direction only",
        3,
        Needs::Nothing,
        |random| Fault::Cut(anybody(random), [Way::Deaf, Way::Mute][random.below(2)]),
    ),
    scenario(
        "minority",
        "the leader and one other, of five, are cut off",
        5,
        Needs::Nothing,
        |_| Fault::Minority,
    ),
    scenario(
        "partial",
        "two halves joined by one member, or a ring of five",
        5,
        Needs::Nothing,
        |random| {
            if random.one_in(3) {
                Fault::Ring
            } else {
                Fault::Bridge(anybody(random))
            }
        },
    ),
    scenario(
        "flapping",
        "one member's network comes and goes",
        3,
        Needs::Nothing,
        |random| Fault::Flap(anybody(random)),
    ),
    scenario(
        "loss",
        "packets between members get lost",
        3,
        Needs::Nothing,
        |random| Fault::Loss([2, 5, 10, 20, 30][random.below(5)]),
    ),
    scenario(
        "delay",
        "packets between members take long",
        3,
        Needs::Proxies,
        |random| Fault::Delay([5, 20, 50, 100, 200][random.below(5)]),
    ),
    scenario(
        "full-disk",
        "a member's disk is full",
        3,
        Needs::SmallDisk,
        |_| Fault::FullDisk,
    ),
    scenario(
        "slow-disk",
        "a member's disk is slow, or everybody's",
        3,
        Needs::Nothing,
        |random| {
            let rate = [32 << 10, 128 << 10, 512 << 10][random.below(3)];
            // Of one slow disk clients notice nothing: two others are a quorum.
            let all = random.one_in(2);
            Fault::SlowDisk(if all { Who::Everybody } else { anybody(random) }, rate)
        },
    ),
    scenario(
        "flipped-bits",
        "a stopped member's files are damaged",
        3,
        Needs::Nothing,
        |random| {
            Fault::FlippedBits(
                anybody(random),
                [Damaged::Log, Damaged::Log, Damaged::State][random.below(3)],
            )
        },
    ),
    scenario("clocks", "wall clocks jump", 3, Needs::Clocks, |random| {
        let seconds = [-86_400, -3_600, -30, -2, 2, 30, 3_600, 86_400][random.below(8)];
        let who = if random.one_in(4) {
            Who::Everybody
        } else {
            anybody(random)
        };
        Fault::Clock(who, seconds)
    }),
    scenario(
        "membership",
        "a learner comes, is promoted, and is removed",
        3,
        Needs::Guest,
        |random| {
            if random.one_in(4) {
                Fault::Kill(anybody(random))
            } else {
                Fault::Guest
            }
        },
    ),
    scenario(
        "rolling-restart",
        "one member after the other is stopped and started",
        3,
        Needs::Nothing,
        |_| Fault::RollingRestart,
    ),
    scenario(
        "kill-during",
        "the leader is killed during a snapshot, a rebuild, a compaction, a membership change",
        3,
        Needs::Guest,
        |random| {
            Fault::KillDuring(
                [
                    During::Snapshot,
                    During::Installation,
                    During::Compaction,
                    During::MemberChange,
                ][random.below(4)],
            )
        },
    ),
    scenario(
        "everything",
        "any of the faults that need nothing prepared",
        3,
        Needs::Nothing,
        everything,
    ),
    scenario(
        "kubernetes",
        "whole servers, used through the Kubernetes API",
        3,
        Needs::Servers,
        servers,
    ),
];

fn follower(random: &mut Random) -> Who {
    Who::Follower(random.below(4))
}

fn anybody(random: &mut Random) -> Who {
    match random.below(2) {
        0 => Who::Leader,
        _ => follower(random),
    }
}

fn everything(random: &mut Random) -> Fault {
    let way = [Way::Both, Way::Deaf, Way::Mute][random.below(3)];
    let who = anybody(random);
    match random.below(9) {
        0 => Fault::Kill(who),
        1 => Fault::Kill(Who::Everybody),
        2 => Fault::Pause(who),
        3 => Fault::Cut(who, way),
        4 => Fault::Flap(who),
        5 => Fault::Loss(15),
        6 => Fault::SlowDisk(who, 128 << 10),
        7 => Fault::RollingRestart,
        _ => Fault::KillDuring(During::Compaction),
    }
}

fn servers(random: &mut Random) -> Fault {
    let who = anybody(random);
    match random.below(8) {
        0 | 1 => Fault::Kill(Who::Leader),
        2 => Fault::Kill(follower(random)),
        3 => Fault::Kill(Who::Everybody),
        4 => Fault::Pause(who),
        5 => Fault::Cut(Who::Leader, Way::Both),
        6 => Fault::Cut(who, [Way::Deaf, Way::Mute][random.below(2)]),
        _ => Fault::RollingRestart,
    }
}

/// The scenario of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

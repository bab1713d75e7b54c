//! What is done to a cluster, in which order and for how long: from a seed alone.
//!
//! **Invariant:** the same scenario, seed and length make the same steps. Whom a
//! step hits is told by role, because who leads is up to the cluster.

use crate::trial::firewall::Way;
use kontiki_mvcc::conformance::Random;
use std::fmt;
use std::time::Duration;

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Who leads at that moment.
    Leader,
    /// The so many-th of the others.
    Follower(usize),
    Everybody,
}

/// Which files of a stopped member are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damaged {
    Log,
    State,
}

/// During what the leader is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    /// While it streams a snapshot to a client.
    Snapshot,
    /// While a member that lost its disk is given everything anew.
    Installation,
    Compaction,
    MemberChange,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `SIGKILL`, and a new start.
    Kill(Who),
    /// `SIGSTOP`, and `SIGCONT`.
    Pause(Who),
    /// Cut off from the other members; clients still reach it.
    Cut(Who, Way),
    /// The leader and one other, of five, cut off from the rest.
    Minority,
    /// Two halves joined by one member.
    Bridge(Who),
    /// Every member hears two neighbours only.
    Ring,
    /// Cut off and let in again several times a second.
    Flap(Who),
    /// Percent of the packets between members.
    Loss(u8),
    /// Milliseconds that everything between members takes longer.
    Delay(u64),
    /// The disk of the member with the small one.
    FullDisk,
    /// Bytes a second that a disk takes.
    SlowDisk(Who, u64),
    FlippedBits(Who, Damaged),
    /// Seconds that a wall clock jumps.
    Clock(Who, i64),
    /// A spare member comes as a learner, is promoted, and goes.
    Guest,
    /// One member after the other is stopped by `SIGTERM` and started.
    RollingRestart,
    KillDuring(During),
}

/// One fault of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// After the one before.
    pub pause: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// The steps of a seed that fit into `length`; one at least.
pub(crate) fn steps(draw: fn(&mut Random) -> Fault, seed: u64, length: Duration) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut steps = Vec::new();
    let mut taken = Duration::ZERO;
    while steps.is_empty() || taken < length {
        let millis = |random: &mut Random, from: usize, to: usize| {
            Duration::from_millis((from + random.below(to - from)) as u64)
        };
        let pause = millis(&mut random, 600, 1_800);
        let fault = draw(&mut random);
        let lasts = match fault {
            Fault::Flap(_) | Fault::Loss(_) | Fault::Delay(_) | Fault::SlowDisk(..) => {
                millis(&mut random, 2_500, 4_500)
            }
            Fault::FullDisk => millis(&mut random, 2_000, 4_000),
            _ => millis(&mut random, 700, 3_000),
        };
        taken += pause + lasts + fault.takes();
        if steps.is_empty() || taken <= length {
            steps.push(Step {
                pause,
                fault,
                lasts,
            });
        }
    }
    steps
}

impl Fault {
    /// About how long it takes beside the time that it lasts.
    fn takes(self) -> Duration {
        match self {
            Self::FlippedBits(..) | Self::Guest => Duration::from_secs(3),
            Self::RollingRestart => Duration::from_secs(4),
            Self::KillDuring(During::Installation | During::MemberChange) => Duration::from_secs(3),
            _ => Duration::from_millis(300),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::Follower(_) => f.write_str("a follower"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(who) => write!(f, "kill -9 {who}"),
            Self::Pause(who) => write!(f, "pause {who}"),
            Self::Cut(who, Way::Both) => write!(f, "cut off {who}"),
            Self::Cut(who, Way::Deaf) => write!(f, "{who} hears nobody"),
            Self::Cut(who, Way::Mute) => write!(f, "nobody hears {who}"),
            Self::Minority => f.write_str("the leader is in a minority"),
            Self::Bridge(who) => write!(f, "only {who} connects two halves"),
            Self::Ring => f.write_str("everybody hears its neighbours only"),
            Self::Flap(who) => write!(f, "{who}: the network comes and goes"),
            Self::Loss(percent) => write!(f, "{percent} % of the packets are lost"),
            Self::Delay(millis) => write!(f, "{millis} ms of delay"),
            Self::FullDisk => f.write_str("a disk is full"),
            Self::SlowDisk(who, rate) => write!(f, "the disk of {who} takes {} KiB/s", rate >> 10),
            Self::FlippedBits(who, Damaged::Log) => write!(f, "flipped bits in the log of {who}"),
            Self::FlippedBits(who, Damaged::State) => {
                write!(f, "flipped bits in the state files of {who}")
            }
            Self::Clock(who, seconds) => write!(f, "the clock of {who} jumps {seconds:+} s"),
            Self::Guest => f.write_str("a member comes and goes"),
            Self::RollingRestart => f.write_str("rolling restart"),
            Self::KillDuring(During::Snapshot) => {
                f.write_str("kill -9 the leader while it saves a snapshot")
            }
            Self::KillDuring(During::Installation) => {
                f.write_str("kill -9 the leader while it rebuilds a member")
            }
            Self::KillDuring(During::Compaction) => {
                f.write_str("kill -9 the leader during a compaction")
            }
            Self::KillDuring(During::MemberChange) => {
                f.write_str("kill -9 the leader during a membership change")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::scenario;

    #[test]
    fn a_seed_makes_the_same_steps_every_time_and_another_others() {
        let length = Duration::from_secs(60);
        for scenario in scenario::ALL {
            let first = steps(scenario.draw, 7, length);
            assert_eq!(first, steps(scenario.draw, 7, length), "{}", scenario.name);
            let others = (8..12).any(|seed| steps(scenario.draw, seed, length) != first);
            assert!(others, "{}", scenario.name);
        }
    }

    #[test]
    fn the_steps_fit_into_the_time_but_one_is_always_there() {
        for seed in 0..50 {
            let scenario = scenario::find("everything").expect("it is one");
            let length = Duration::from_secs(15);
            let steps_of = steps(scenario.draw, seed, length);
            let sum: Duration = steps_of.iter().map(|step| step.pause + step.lasts).sum();
            assert!(sum <= length || steps_of.len() == 1);
            assert_eq!(steps(scenario.draw, seed, Duration::ZERO).len(), 1);
        }
    }
}

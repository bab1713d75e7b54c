//! Does to a cluster what the schedule says, from outside, and undoes it.

mod disks;
mod membership;
mod moments;
mod proxies;

use crate::trial::firewall::{self, Links};
use crate::trial::fleet::Fleet;
use crate::trial::pulse::Pulse;
use crate::trial::recorder::Recorder;
use crate::trial::schedule::{Fault, Step, Who};
use crate::trial::wire::Wire;
use anyhow::{Context, Result, bail};
use kontiki_checker::Request;
use kontiki_mvcc::conformance::Random;
use kontiki_store::{KeyRange, RangeRequest};
use nix::sys::signal::Signal;
pub(crate) use proxies::Proxies;
use serde::Serialize;
use std::time::{Duration, Instant};

/// A cluster that nobody troubles any more is whole again after this long.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// A fault that was injected: a line of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// Milliseconds after the start.
    pub from_ms: f64,
    /// When it was undone.
    pub until_ms: f64,
    /// What was done.
    pub what: String,
    /// Who was hit.
    pub hit: Vec<String>,
    /// What was seen of it.
    pub notes: Vec<String>,
}

/// The one who troubles the cluster.
pub(crate) struct Nemesis<'a> {
    fleet: &'a Fleet,
    pulse: &'a Pulse,
    wires: &'a [Wire],
    recorder: &'a Recorder,
    random: Random,
    started: Instant,
    proxies: Option<&'a Proxies>,
    marks: Vec<Mark>,
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(
        fleet: &'a Fleet,
        (pulse, wires, recorder): (&'a Pulse, &'a [Wire], &'a Recorder),
        proxies: Option<&'a Proxies>,
        seed: u64,
        started: Instant,
    ) -> Self {
        Self {
            fleet,
            pulse,
            wires,
            recorder,
            random: Random::new(seed),
            started,
            proxies,
            marks: Vec::new(),
        }
    }

    pub(crate) fn marks(self) -> Vec<Mark> {
        self.marks
    }

    fn now_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1_000.0
    }

    fn note(&mut self, note: impl Into<String>) {
        if let Some(mark) = self.marks.last_mut() {
            mark.notes.push(note.into());
        }
    }

    fn hit(&mut self, members: &[usize]) {
        let names = members
            .iter()
            .map(|member| self.fleet.name(*member).to_owned());
        let names: Vec<String> = names.collect();
        if let Some(mark) = self.marks.last_mut() {
            mark.hit.extend(names);
        }
    }

    /// Does a step and undoes it.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<()> {
        tokio::time::sleep(step.pause).await;
        let from_ms = self.now_ms();
        self.marks.push(Mark {
            from_ms,
            until_ms: from_ms,
            what: step.fault.to_string(),
            hit: Vec::new(),
            notes: Vec::new(),
        });
        let done = self.inject_and_heal(step).await;
        let until_ms = self.now_ms();
        if let Some(mark) = self.marks.last_mut() {
            mark.until_ms = until_ms;
        }
        done.with_context(|| step.fault.to_string())?;
        self.nobody_ended()
    }

    /// A member that ends although nobody asked it to is a fault of its own.
    fn nobody_ended(&self) -> Result<()> {
        for member in self.fleet.missing() {
            if !self.fleet.may_end(member) {
                bail!(
                    "{} ended by itself:\n{}",
                    self.fleet.name(member),
                    self.fleet.tail(member, 20)
                );
            }
        }
        Ok(())
    }

    async fn inject_and_heal(&mut self, step: &Step) -> Result<()> {
        let lasts = step.lasts;
        let members = self.fleet.founders();
        match step.fault {
            Fault::Kill(who) => {
                let hit = self.resolve(who).await;
                hit.iter().try_for_each(|member| self.fleet.kill(*member))?;
                tokio::time::sleep(lasts).await;
                hit.iter().try_for_each(|member| self.fleet.start(*member))
            }
            Fault::Pause(who) => {
                let hit = self.resolve(who).await;
                for member in &hit {
                    self.fleet.signal(*member, Signal::SIGSTOP)?;
                }
                tokio::time::sleep(lasts).await;
                hit.iter()
                    .try_for_each(|member| self.fleet.signal(*member, Signal::SIGCONT))
            }
            Fault::Cut(who, way) => {
                let hit = self.resolve(who).await;
                self.links_for(&Links::cut(members, hit[0], way), lasts)
                    .await
            }
            Fault::Minority => {
                let leader = self.resolve(Who::Leader).await[0];
                let other = (leader + 1 + self.random.below(members - 1)) % members;
                self.hit(&[other]);
                self.links_for(&Links::split(members, &[leader, other]), lasts)
                    .await
            }
            Fault::Bridge(who) => {
                let hit = self.resolve(who).await;
                self.links_for(&Links::bridge(members, hit[0]), lasts).await
            }
            Fault::Ring => self.links_for(&Links::ring(members), lasts).await,
            Fault::Loss(percent) => self.links_for(&Links::lossy(members, percent), lasts).await,
            Fault::Flap(who) => self.flap(who, lasts).await,
            Fault::Delay(millis) => {
                let proxies = self.proxies.context("there are no proxies")?;
                proxies.set_delay(Duration::from_millis(millis));
                tokio::time::sleep(lasts).await;
                proxies.set_delay(Duration::ZERO);
                Ok(())
            }
            Fault::FullDisk => self.full_disk(lasts).await,
            Fault::SlowDisk(who, rate) => self.slow_disk(who, rate, lasts).await,
            Fault::FlippedBits(who, damaged) => self.flipped_bits(who, damaged).await,
            Fault::Clock(who, seconds) => {
                let hit = self.resolve(who).await;
                hit.iter()
                    .try_for_each(|member| self.fleet.set_clock(*member, seconds))?;
                tokio::time::sleep(lasts).await;
                hit.iter()
                    .try_for_each(|member| self.fleet.set_clock(*member, 0))
            }
            Fault::Guest => self.guest(lasts).await,
            Fault::RollingRestart => self.rolling_restart().await,
            Fault::KillDuring(during) => self.kill_during(during, lasts).await,
        }
    }

    /// Which members these are now.
    async fn resolve(&mut self, who: Who) -> Vec<usize> {
        let members = self.fleet.founders();
        let hit = match who {
            Who::Everybody => (0..members).collect(),
            Who::Leader => vec![self.pulse.wait_leader().await],
            Who::Follower(number) => {
                let leader = self.pulse.wait_leader().await;
                vec![(leader + 1 + number % (members - 1)) % members]
            }
        };
        self.hit(&hit);
        hit
    }

    fn load(&self, links: &Links) -> Result<()> {
        let addresses = self.fleet.addresses();
        (0..self.fleet.founders()).try_for_each(|member| {
            let rules = links.rules(member, &addresses);
            firewall::load(&self.fleet.namespace(member), &rules)
        })
    }

    async fn links_for(&self, links: &Links, lasts: Duration) -> Result<()> {
        self.load(links)?;
        tokio::time::sleep(lasts).await;
        self.load(&Links::default())
    }

    async fn flap(&mut self, who: Who, lasts: Duration) -> Result<()> {
        let members = self.fleet.founders();
        let hit = self.resolve(who).await[0];
        let links = Links::cut(members, hit, firewall::Way::Both);
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            let millis = 100 + self.random.below(400) as u64;
            self.links_for(&links, Duration::from_millis(millis))
                .await?;
            let millis = 50 + self.random.below(300) as u64;
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(())
    }

    async fn rolling_restart(&mut self) -> Result<()> {
        for member in 0..self.fleet.founders() {
            self.hit(&[member]);
            let took = self.fleet.stop(member)?;
            self.note(format!(
                "{} stopped within {} ms",
                self.fleet.name(member),
                took.as_millis()
            ));
            self.fleet.start(member)?;
            self.wait_serving(member, RECOVERY_MAX).await?;
        }
        Ok(())
    }

    /// Whether a member answers a linearizable read.
    async fn serves(&self, member: usize) -> bool {
        let request = Request::Range(RangeRequest {
            range: KeyRange::one("/ready"),
            ..RangeRequest::default()
        });
        let answer = tokio::time::timeout(PROBE_PATIENCE, self.wires[member].call(&request));
        matches!(answer.await, Ok(Ok(_)))
    }

    async fn wait_serving(&self, member: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.serves(member).await {
            if Instant::now() > deadline {
                bail!(
                    "{} serves no read {} s after it was let alone; its log ends with\n{}",
                    self.fleet.name(member),
                    patience.as_secs(),
                    self.fleet.tail(member, 20)
                );
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        Ok(())
    }

    /// Undoes whatever is left of any fault, and waits until every member serves.
    pub(crate) async fn relent(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.load(&Links::default())?;
        for member in 0..self.fleet.founders() {
            // Not paused, or not alive: then there is nothing to go on with.
            let _ = self.fleet.signal(member, Signal::SIGCONT);
            if self.fleet.alive(member).is_none() {
                self.fleet.start(member)?;
            }
        }
        for member in 0..self.fleet.founders() {
            if self.fleet.may_end(member) {
                self.until_rebuilt(member).await?;
            }
            self.wait_serving(member, RECOVERY_MAX).await?;
        }
        self.nobody_ended()?;
        Ok(began.elapsed())
    }
}

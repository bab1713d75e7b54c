//! Trying the store: real members, faults from outside, and every promise held
//! against what clients saw.
//!
//! * [`scenario`] and `schedule` say what is done; pure.
//! * `fleet` runs the members, `nemesis` troubles them.
//! * `clients` and `watchers` use them, `recorder` notes everything, `wire` is
//!   the way to a member.
//! * [`verdict`], [`figures`], `picture` and [`page`] tell what was seen; pure.
//!
//! **Invariant:** a run counts only if enough was going on before its first
//! fault; what does not count has not passed.

mod clients;
pub mod figures;
mod firewall;
mod fleet;
mod interrupt;
mod nemesis;
pub mod page;
mod picture;
mod pulse;
mod recorder;
pub mod report;
pub mod scenario;
mod schedule;
pub mod verdict;
mod watchers;
mod wire;

#[cfg(test)]
mod tests;

pub use nemesis::Mark;

use anyhow::{Context, Result, bail};
use clients::{Clients, Load, call};
use figures::{Bucket, Impact, Reign};
use fleet::Fleet;
use kontiki_checker::{HashSample, History, Request};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, Revision, TxnRequest};
use nemesis::Nemesis;
use pulse::Pulse;
use recorder::Recorder;
use scenario::{Needs, Scenario};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use verdict::{Check, Ending, Verdict};
use watchers::Watchers;
use wire::Wire;
use xtask::netns;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which scenario.
    pub scenario: &'static Scenario,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// For how long the cluster is troubled, about.
    pub length: Duration,
    /// The product's binary.
    pub binary: PathBuf,
    /// Prefix of the network namespaces, and the name of the state folder.
    pub cluster: String,
}

/// Whether a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Ended {
    /// It does not: too little was going on.
    Void,
    /// It does.
    Judged,
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario.
    pub scenario: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its seed.
    pub seed: u64,
    /// The members' names.
    pub members: Vec<String>,
    /// How long it took.
    pub lasted_ms: f64,
    /// Calls a second before the first fault.
    pub throughput: f64,
    /// Whether it counts.
    pub ended: Ended,
    /// Every promise.
    pub checks: Vec<Check>,
    /// What was done.
    pub marks: Vec<Mark>,
    /// What each fault cost.
    pub impacts: Vec<Impact>,
    /// Who led when.
    pub reigns: Vec<Reign>,
    /// What went on over time.
    pub buckets: Vec<Bucket>,
    /// Of a failed run: the end of what each member said.
    pub logs: Vec<(String, String)>,
}

impl Outcome {
    /// Whether it counts and every promise was kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.ended == Ended::Judged
            && self
                .checks
                .iter()
                .all(|check| check.verdict == Verdict::Passed)
    }

    /// The first broken promise.
    #[must_use]
    pub fn broken(&self) -> Option<&Check> {
        self.checks
            .iter()
            .find(|check| check.verdict == Verdict::Failed)
    }
}

const LOAD: Load = Load {
    clients: 12,
    rate: 40,
};
/// Calls a second below which a run says nothing.
const FLOOR: f64 = 100.0;
const WARM_UP: Duration = Duration::from_millis(1_000);
/// In which the throughput is looked at.
const WINDOW: Duration = Duration::from_millis(1_500);
const START_PATIENCE: Duration = Duration::from_secs(40);
/// Clients go on for this long after the last fault.
const AFTERWARDS: Duration = Duration::from_millis(1_500);
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
const BUCKET_MS: f64 = 200.0;
const LOG_LINES: usize = 60;

/// Runs until a run counts, `attempts` times at most.
///
/// # Errors
/// As [`run`].
pub fn run_valid(plan: &Plan, attempts: usize) -> Result<Outcome> {
    until_it_counts(attempts, || run(plan))
}

fn until_it_counts(attempts: usize, mut run: impl FnMut() -> Result<Outcome>) -> Result<Outcome> {
    let mut outcome = run()?;
    for _ in 1..attempts {
        if outcome.ended == Ended::Judged {
            break;
        }
        outcome = run()?;
    }
    Ok(outcome)
}

/// Whether enough was going on before the first fault.
fn counts(throughput: f64) -> Ended {
    if throughput < FLOOR {
        Ended::Void
    } else {
        Ended::Judged
    }
}

/// Runs once, on a cluster that is made for it and taken away afterwards.
///
/// # Errors
/// If the cluster cannot be made, or this process is asked to end.
pub fn run(plan: &Plan) -> Result<Outcome> {
    interrupt::guarded(|asked| run_until(plan, asked))
}

fn run_until(plan: &Plan, asked: CancellationToken) -> Result<Outcome> {
    let scenario = plan.scenario;
    let fleet = Fleet::new(
        &plan.cluster,
        scenario.members,
        scenario.needs,
        &plan.binary,
    )?;
    let plan = plan.clone();
    // Everything happens on threads of the clients' machine, whose sockets are there.
    netns::inside(&fleet.client_namespace(), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            tokio::select! {
                outcome = Trial::new(&plan, &fleet).play() => outcome,
                () = asked.cancelled() => bail!("interrupted"),
            }
        })
    })
}

/// Takes away what an interrupted run left.
///
/// # Errors
/// If something stays behind.
pub fn clean(cluster: &str) -> Result<()> {
    fleet::take_away(cluster)
}

/// A run under way.
struct Trial<'a> {
    plan: &'a Plan,
    fleet: &'a Fleet,
    wires: Vec<Wire>,
    random: Random,
}

impl<'a> Trial<'a> {
    fn new(plan: &'a Plan, fleet: &'a Fleet) -> Self {
        let members = 0..fleet.founders();
        Self {
            plan,
            fleet,
            wires: members
                .map(|member| Wire::new(fleet.machine(member).address))
                .collect(),
            random: Random::new(plan.seed),
        }
    }

    async fn play(mut self) -> Result<Outcome> {
        let scenario = self.plan.scenario;
        let proxied = scenario.needs == Needs::Proxies;
        let proxies = proxied.then(|| nemesis::Proxies::start(self.fleet));
        for member in 0..self.fleet.founders() {
            self.fleet.start(member)?;
        }
        self.until_ready().await?;

        let started = Instant::now();
        let recorder = Recorder::new(started);
        let pulse = Pulse::start(&self.wires, started);
        let seed = self.random.number();
        let watchers = Watchers::start(&recorder, &self.wires, self.fleet.founders(), seed);
        let clients = Clients::start(&recorder, &self.wires, LOAD, self.random.number());
        tokio::time::sleep(WARM_UP).await;
        let before = recorder.acknowledged();
        tokio::time::sleep(WINDOW).await;
        let calls = u32::try_from(recorder.acknowledged() - before)?;
        let throughput = f64::from(calls) / WINDOW.as_secs_f64();

        let mut ending = Ending::default();
        let mut marks = Vec::new();
        let ended = counts(throughput);
        if ended == Ended::Judged {
            let seed = self.random.number();
            let using = (&pulse, &self.wires[..], &recorder);
            let nemesis = Nemesis::new(self.fleet, using, proxies.as_ref(), seed, started);
            let (done, made) = self.trouble(nemesis, &recorder).await;
            marks = made;
            match done {
                Ok(recovered) => ending.recovered = recovered,
                Err(error) => ending.broke = Some(format!("{error:#}")),
            }
            tokio::time::sleep(AFTERWARDS).await;
        }
        clients.stop().await;
        if ended == Ended::Judged && ending.broke.is_none() {
            match self.settle(&recorder, &watchers).await {
                Ok(()) => watchers.settle(),
                Err(error) => ending.broke = Some(format!("{error:#}")),
            }
        }
        watchers.stop().await;
        for member in 0..self.fleet.founders() {
            let said = self.fleet.said(member);
            ending
                .panics
                .extend(verdict::panics(self.fleet.name(member), &said));
        }
        let sightings = pulse.sightings();
        drop(pulse);
        let seen = Seen {
            history: recorder.take(),
            ending,
            marks,
            reigns: figures::reigns(&sightings),
            throughput,
            ended,
            lasted_ms: started.elapsed().as_secs_f64() * 1_000.0,
        };
        let mut outcome = outcome(self.plan, self.names(), seen);
        if outcome.broken().is_some() {
            outcome.logs = self.logs();
        }
        Ok(outcome)
    }

    fn names(&self) -> Vec<String> {
        let members = 0..self.fleet.founders();
        members
            .map(|member| self.fleet.name(member).to_owned())
            .collect()
    }

    fn logs(&self) -> Vec<(String, String)> {
        let guest = usize::from(self.plan.scenario.needs == Needs::Guest);
        let members = 0..self.fleet.founders() + guest;
        let tail = |member| {
            let name = self.fleet.name(member).to_owned();
            (name, self.fleet.tail(member, LOG_LINES))
        };
        members.map(tail).collect()
    }

    async fn until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        for (member, wire) in self.wires.iter().enumerate() {
            let request = Request::Range(RangeRequest {
                range: KeyRange::one("/ready"),
                ..RangeRequest::default()
            });
            loop {
                let answer = tokio::time::timeout(Duration::from_secs(1), wire.call(&request));
                if matches!(answer.await, Ok(Ok(_))) {
                    break;
                }
                if Instant::now() > deadline {
                    let (name, tail) = (self.fleet.name(member), self.fleet.tail(member, 20));
                    bail!("{name} does not serve; its log ends with\n{tail}");
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        Ok(())
    }

    /// Every step, then peace; how long it took until all served again.
    async fn trouble(
        &self,
        mut nemesis: Nemesis<'_>,
        recorder: &Recorder,
    ) -> (Result<Duration>, Vec<Mark>) {
        let draw = self.plan.scenario.draw;
        let steps = schedule::steps(draw, self.plan.seed, self.plan.length);
        let troubled = async {
            for step in &steps {
                nemesis.step(step).await?;
            }
            nemesis.relent().await
        };
        let sampled = sample(recorder, &self.wires);
        let done = tokio::select! {
            done = troubled => done,
            () = sampled => unreachable!("sampling has no end"),
        };
        (done, nemesis.marks())
    }

    /// Everybody writes and reads once more, and all that was written must show.
    async fn settle(&self, recorder: &Recorder, watchers: &Watchers) -> Result<()> {
        for member in 0..self.wires.len() {
            let put = PutRequest {
                key: "/registry/last".into(),
                value: format!("last {member}").into(),
                ..PutRequest::default()
            };
            let request = Request::Txn(TxnRequest {
                success: vec![Op::Put(put)],
                ..TxnRequest::default()
            });
            self.ask(recorder, member, request).await?;
        }
        for member in 0..self.wires.len() {
            let request = Request::Range(RangeRequest {
                range: KeyRange::prefix("/registry/"),
                ..RangeRequest::default()
            });
            self.ask(recorder, member, request).await?;
        }
        let (now, _) = self.wires[0].view().await?;
        if !watchers.until(now.revision + 1, SETTLE_PATIENCE).await {
            bail!(
                "a watch does not show what had happened at revision {}",
                now.revision
            );
        }
        self.compare(recorder).await
    }

    /// Asks until it is answered.
    async fn ask(&self, recorder: &Recorder, member: usize, request: Request) -> Result<()> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            let answer = call(recorder, &self.wires[member], member, request.clone()).await;
            if matches!(answer, Some(Ok(_))) {
                return Ok(());
            }
            let name = self.fleet.name(member);
            if Instant::now() > deadline {
                bail!("{name} does not answer: {answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Hashes of every member, once they stand at the same entry.
    async fn compare(&self, recorder: &Recorder) -> Result<()> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            let mut samples = Vec::new();
            for (member, wire) in self.wires.iter().enumerate() {
                let keys = wire.keys_hash(0).await?;
                let Ok((applied_index, state)) = wire.state_hash().await else {
                    break;
                };
                samples.push(HashSample {
                    member,
                    applied_index,
                    revision: keys.revision,
                    compact_revision: keys.compact_revision,
                    keys: keys.hash,
                    state,
                });
            }
            let even = samples.len() == self.wires.len()
                && samples
                    .windows(2)
                    .all(|pair| pair[0].applied_index == pair[1].applied_index);
            if even || Instant::now() > deadline {
                samples
                    .into_iter()
                    .for_each(|sample| recorder.sampled(sample));
                return even
                    .then_some(())
                    .context("the members never stand at the same entry");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Compares what the members hold while they are troubled. Ends never.
async fn sample(recorder: &Recorder, wires: &[Wire]) {
    let mut number = 0;
    loop {
        tokio::time::sleep(SAMPLE_EVERY).await;
        // Old enough that most members have it, new enough not to be compacted.
        let revision: Revision = recorder.shown_before() - 20;
        if revision < 2 {
            continue;
        }
        for (member, wire) in wires.iter().enumerate() {
            let asked = wire.keys_hash(revision);
            if let Ok(Ok(keys)) = tokio::time::timeout(SAMPLE_EVERY, asked).await {
                number += 1;
                recorder.sampled(HashSample {
                    member,
                    // The whole state is not asked for here: nothing to compare it with.
                    applied_index: u64::MAX - number,
                    revision: keys.revision,
                    compact_revision: keys.compact_revision,
                    keys: keys.hash,
                    state: 0,
                });
            }
        }
    }
}

/// Everything that was seen of a run.
struct Seen {
    history: History,
    ending: Ending,
    marks: Vec<Mark>,
    reigns: Vec<Reign>,
    throughput: f64,
    ended: Ended,
    lasted_ms: f64,
}

/// Judges a run and counts its figures; pure.
fn outcome(plan: &Plan, members: Vec<String>, seen: Seen) -> Outcome {
    let checks = match seen.ended {
        Ended::Void => Vec::new(),
        Ended::Judged => verdict::judge(&seen.history, &seen.ending),
    };
    Outcome {
        scenario: plan.scenario.name,
        about: plan.scenario.about,
        seed: plan.seed,
        members,
        lasted_ms: seen.lasted_ms,
        throughput: seen.throughput,
        ended: seen.ended,
        checks,
        impacts: figures::impacts(&seen.history, &seen.marks),
        buckets: figures::buckets(&seen.history, BUCKET_MS, seen.lasted_ms),
        marks: seen.marks,
        reigns: seen.reigns,
        logs: Vec::new(),
    }
}

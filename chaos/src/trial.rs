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
mod crowd;
pub mod figures;
mod firewall;
mod fleet;
mod interrupt;
mod kubernetes;
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
mod workload;

#[cfg(test)]
mod tests;

pub use nemesis::Mark;

use anyhow::{Result, bail};
use figures::{Bucket, Impact, Reign};
use fleet::Fleet;
use kontiki_checker::{HashSample, History, Request};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{KeyRange, RangeRequest, Revision};
use nemesis::Nemesis;
use pulse::Pulse;
use recorder::Recorder;
use scenario::{Needs, Scenario};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use verdict::{Check, Ending, Verdict};
use wire::Wire;
use workload::Workload;
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
    /// Where everything that is known of a failed run is kept.
    pub keep: PathBuf,
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

/// Calls a second below which a run says nothing.
const FLOOR: f64 = 100.0;
/// The same through the Kubernetes API, where a list takes several.
const API_FLOOR: f64 = 40.0;
const WARM_UP: Duration = Duration::from_millis(1_000);
/// In which the throughput is looked at.
const WINDOW: Duration = Duration::from_millis(1_500);
const START_PATIENCE: Duration = Duration::from_secs(40);
/// Clients go on for this long after the last fault.
const AFTERWARDS: Duration = Duration::from_millis(1_500);
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
fn counts(needs: Needs, throughput: f64) -> Ended {
    let floor = match needs {
        Needs::Servers => API_FLOOR,
        _ => FLOOR,
    };
    if throughput < floor {
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
                outcome = async { Trial::new(&plan, &fleet)?.play().await } => outcome,
                () = asked.cancelled() => bail!("interrupted"),
            }
        })
    })
}

/// Whether this process was asked to end: then no further run begins.
#[must_use]
pub fn interrupted() -> bool {
    interrupt::asked()
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
    fn new(plan: &'a Plan, fleet: &'a Fleet) -> Result<Self> {
        Ok(Self {
            plan,
            fleet,
            wires: fleet.wires()?,
            random: Random::new(plan.seed),
        })
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
        let pulse = Pulse::start(&self.wires, started);
        let mut workload =
            Workload::start(self.fleet, &self.wires, &mut self.random, started).await?;
        tokio::time::sleep(WARM_UP).await;
        let before = workload.acknowledged();
        tokio::time::sleep(WINDOW).await;
        let calls = u32::try_from(workload.acknowledged() - before)?;
        let throughput = f64::from(calls) / WINDOW.as_secs_f64();

        let mut ending = Ending::default();
        let mut marks = Vec::new();
        let ended = counts(scenario.needs, throughput);
        if ended == Ended::Judged {
            let seed = self.random.number();
            let using = (&pulse, &self.wires[..], workload.recorder());
            let nemesis = Nemesis::new(self.fleet, using, proxies.as_ref(), seed, started);
            let (done, made) = self.trouble(nemesis, workload.recorder()).await;
            marks = made;
            match done {
                Ok(recovered) => ending.recovered = recovered,
                Err(error) => ending.broke = Some(format!("{error:#}")),
            }
            tokio::time::sleep(AFTERWARDS).await;
        }
        workload.rest().await;
        if ended == Ended::Judged && ending.broke.is_none() {
            let settled = workload.settle(&self.wires).await;
            ending.broke = settled.err().map(|error| format!("{error:#}"));
        }
        for member in 0..self.fleet.founders() {
            let said = self.fleet.said(member);
            let found = verdict::panics(self.fleet.name(member), &said);
            ending.panics.extend(found);
        }
        let sightings = pulse.sightings();
        drop(pulse);
        let seen = Seen {
            history: workload.finish().await,
            ending,
            marks,
            reigns: figures::reigns(&sightings),
            throughput,
            ended,
            lasted_ms: started.elapsed().as_secs_f64() * 1_000.0,
        };
        let history = seen.history.clone();
        let mut outcome = outcome(self.plan, self.names(), seen);
        if outcome.broken().is_some() {
            outcome.logs = self.logs();
            self.keep(&history)?;
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

    /// Keeps what members said and clients saw, for whoever looks for the cause.
    fn keep(&self, history: &History) -> Result<()> {
        let folder = format!("{}-{}", self.plan.scenario.name, self.plan.seed);
        let folder = self.plan.keep.join(folder);
        std::fs::create_dir_all(&folder)?;
        for member in 0..self.fleet.founders() {
            let path = folder.join(format!("{}.log", self.fleet.name(member)));
            std::fs::write(path, self.fleet.said(member))?;
        }
        let mut lines = std::io::BufWriter::new(std::fs::File::create(folder.join("history"))?);
        for operation in &history.operations {
            writeln!(lines, "{operation:?}")?;
        }
        for watch in &history.watches {
            writeln!(lines, "{watch:?}")?;
        }
        Ok(lines.flush()?)
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

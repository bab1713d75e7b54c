//! One member: its disk and engine, which stay, and the lives of its process.

use crate::bugs::{Bug, LyingDisk};
use crate::engine::SimEngine;
use crate::ledger::Ledger;
use crate::network::{Presence, SimNetwork};
use kontiki_mvcc::conformance::Random;
use kontiki_raft::{
    Environment, Network, ReplicatedConfig, ReplicatedStore, StartError, Workers, await_consent,
};
use kontiki_store::Store;
use kontiki_wal::{Clock, Disk, SimDisk, Step, Wal};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// How long a commit of the log takes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub min: u64,
    pub max: u64,
}

/// Shared with the tasks of a life.
struct Tempo {
    pace: Pace,
    random: Random,
}

/// What a member says whose corrupt data may be set aside.
pub(crate) const SET_ASIDE: &str = "its data is set aside";
/// How long its peers are asked for that.
const CONSENT_PATIENCE: Duration = Duration::from_secs(5);

type Slot = Arc<Mutex<Option<Result<Arc<ReplicatedStore>, String>>>>;

/// A process.
struct Life {
    runtime: Runtime,
    store: Slot,
    /// Milliseconds that its clock was moved.
    moved: u64,
    began: Duration,
    /// Its graceful end has been asked for; set once it is done.
    stopping: Option<Arc<Mutex<bool>>>,
}

/// A member of the simulated cluster.
pub(crate) struct Node {
    pub number: usize,
    pub config: ReplicatedConfig,
    pub disk: SimDisk,
    engine: Arc<SimEngine>,
    network: SimNetwork,
    ledger: Ledger,
    bug: Option<Bug>,
    tempo: Arc<Mutex<Tempo>>,
    life: Option<Life>,
    /// How fast its clock runs, in thousandths.
    pub rate: u64,
    /// What its time of day is off by.
    wall_offset: Arc<Mutex<i64>>,
    /// Until then its process is frozen.
    pub frozen_until: Option<Duration>,
    /// Whether it belongs to the cluster.
    pub enrolled: bool,
    /// When its process shall be started again.
    pub start_at: Option<Duration>,
    now: Arc<Mutex<Duration>>,
}

impl Node {
    pub(crate) fn new(
        number: usize,
        config: ReplicatedConfig,
        network: SimNetwork,
        ledger: Ledger,
        seed: u64,
        bug: Option<Bug>,
    ) -> Self {
        let tempo = Tempo {
            pace: Pace { min: 0, max: 1 },
            random: Random::new(seed ^ 0x5eed),
        };
        Self {
            number,
            config,
            disk: SimDisk::new(seed),
            engine: Arc::new(SimEngine::new(bug)),
            network,
            ledger,
            bug,
            tempo: Arc::new(Mutex::new(tempo)),
            life: None,
            rate: 1000,
            wall_offset: Arc::default(),
            frozen_until: None,
            enrolled: true,
            start_at: None,
            now: Arc::default(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.life.is_some()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.life
            .as_ref()
            .is_some_and(|life| life.stopping.is_some())
    }

    /// The store, once it has started.
    pub(crate) fn store(&self) -> Option<Arc<ReplicatedStore>> {
        let life = self.life.as_ref()?;
        life.store.lock().as_ref()?.as_ref().ok().cloned()
    }

    /// Why the store did not start, if it did not.
    pub(crate) fn refusal(&self) -> Option<String> {
        let life = self.life.as_ref()?;
        life.store.lock().as_ref()?.as_ref().err().cloned()
    }

    /// What the running store says is wrong with it, if it has these words.
    pub(crate) fn says(&self, words: &str) -> Option<String> {
        let errors = self.store()?.status().borrow().errors.clone();
        errors.into_iter().find(|error| error.contains(words))
    }

    /// Runs a task in the member's process.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(life) = &self.life {
            life.runtime.spawn(task);
        }
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.tempo.lock().pace = pace;
    }

    pub(crate) fn set_wall_offset(&self, seconds: i64) {
        *self.wall_offset.lock() = seconds;
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, now: Duration) {
        self.start_at = None;
        self.frozen_until = None;
        self.network.back(self.number);
        *self.now.lock() = now;
        let runtime = runtime();
        let store = Slot::default();
        let (environment, config) = (self.environment(&runtime), self.config.clone());
        let (engine, slot) = (self.engine.clone(), store.clone());
        let (ledger, number) = (self.ledger.clone(), self.number);
        runtime.spawn(async move {
            let mut registry = Registry::default();
            let asked = (config.clone(), environment.network.clone());
            let started = ReplicatedStore::start_in(environment, config, engine, &mut registry);
            let started = match started.await {
                Ok(store) => Ok(Arc::new(store)),
                Err(error) => Err(refused(&error, asked).await),
            };
            if let Err(error) = &started {
                ledger.trace(format!("member {number}: did not start: {error}"));
            }
            *slot.lock() = Some(started);
        });
        self.life = Some(Life {
            runtime,
            store,
            moved: 0,
            began: now,
            stopping: None,
        });
    }

    fn environment(&self, runtime: &Runtime) -> Environment {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let disk = match self.bug {
            Some(Bug::AcknowledgeBeforeSync) => Arc::new(LyingDisk(disk)),
            _ => disk,
        };
        let _entered = runtime.enter();
        let own = OwnClock(tokio::time::Instant::now());
        let (offset, now) = (self.wall_offset.clone(), self.now.clone());
        // Some day in 2026.
        let wall_clock = move || {
            let seconds = 1_780_000_000 + *offset.lock();
            *now.lock() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        let clock: Arc<dyn Clock> = match self.bug {
            Some(Bug::LeaseExpiryByLocalClock) => Arc::new(LocalTime(wall_clock.clone())),
            _ => Arc::new(own),
        };
        let tempo = self.tempo.clone();
        Environment {
            disk,
            clock,
            network: self.network.at(self.number),
            wall_clock: Arc::new(wall_clock),
            workers: Workers::Caller(Arc::new(move |wal| {
                let work = Arc::new(Notify::new());
                let wanted = work.clone();
                // At once: what is written before the task's first turn counts.
                wal.on_work(move || wanted.notify_one());
                tokio::spawn(keep_log(wal, work, tempo.clone()));
            })),
        }
    }

    /// Moves the process's clock up to its share of `now`.
    pub(crate) fn advance(&mut self, now: Duration) {
        *self.now.lock() = now;
        if self.frozen_until.is_some_and(|until| now < until) {
            return;
        }
        let thawed = self.frozen_until.take().is_some();
        let Some(life) = &mut self.life else { return };
        let since = u64::try_from((now - life.began).as_millis()).unwrap_or(u64::MAX);
        let target = since * self.rate / 1000;
        // A clock that was slowed down waits until its time has come.
        let step = target.saturating_sub(life.moved);
        if step == 0 {
            return;
        }
        life.moved += step;
        let step = Duration::from_millis(step);
        life.runtime.block_on(async {
            if thawed {
                // Everything that was due meanwhile is late.
                tokio::time::advance(step).await;
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(step).await;
            }
        });
    }

    /// The process ends at once; what it wrote to files stays.
    pub(crate) fn kill(&mut self) {
        self.end(Presence::Refusing);
    }

    /// The machine loses power: what was not synced may be gone.
    pub(crate) fn power_off(&mut self) {
        self.end(Presence::Silent);
        self.disk = self.disk.crash();
    }

    fn end(&mut self, presence: Presence) {
        self.frozen_until = None;
        self.network.gone(self.number, presence);
        if let Some(life) = self.life.take() {
            drop(life.store.lock().take());
            drop(life);
        }
        self.engine.crash();
    }

    /// Asks the process to end in good order.
    pub(crate) fn stop(&mut self) {
        let Some(store) = self.store() else { return };
        let done = Arc::new(Mutex::new(false));
        let told = done.clone();
        self.spawn(async move {
            store.shutdown().await;
            *told.lock() = true;
        });
        if let Some(life) = &mut self.life {
            life.stopping = Some(done);
        }
    }

    /// Whether the process has ended in good order.
    pub(crate) fn has_stopped(&self) -> bool {
        let stopping = self.life.as_ref().and_then(|life| life.stopping.as_ref());
        stopping.is_some_and(|done| *done.lock())
    }

    /// The disk of a process that does not run is replaced by an empty one.
    pub(crate) fn replace_disk(&mut self, seed: u64) {
        self.disk = SimDisk::new(seed);
        self.engine = Arc::new(SimEngine::new(self.bug));
    }

    /// The engine makes itself durable, as engines do by themselves.
    pub(crate) fn flush_engine(&self) {
        use kontiki_mvcc::Engine;
        self.engine.flush().expect("memory takes everything");
    }
}

/// What a program does about a start that failed, as far as it needs no disk.
async fn refused(
    error: &StartError,
    (config, network): (ReplicatedConfig, Arc<dyn Network>),
) -> String {
    if error.corruption().is_none() {
        return error.to_string();
    }
    match await_consent(&config, network, CONSENT_PATIENCE).await {
        Ok(()) => format!("{SET_ASIDE}: {error}"),
        Err(refusal) => format!("{refusal}: {error}"),
    }
}

/// A runtime whose time stands still. Tokio draws random numbers that only a
/// special build lets anybody seed: for the branches of a `select!` that is not
/// biased, and for the order in which it wakes those who wait for one of its
/// watch channels. The store's code uses neither where the order could matter.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    builder.build().expect("a runtime without input and output")
}

/// The clock of one life, which the simulation moves.
struct OwnClock(tokio::time::Instant);

impl Clock for OwnClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The time of day, for a bug.
struct LocalTime<F>(F);

impl<F: Fn() -> Duration + Send + Sync + 'static> Clock for LocalTime<F> {
    fn now(&self) -> Duration {
        (self.0)()
    }
}

/// Does what a log's writer thread does, at the pace of the simulated disk.
async fn keep_log(wal: Wal, work: Arc<Notify>, tempo: Arc<Mutex<Tempo>>) {
    loop {
        work.notified().await;
        loop {
            let pause = {
                let tempo = &mut *tempo.lock();
                let spread =
                    usize::try_from(tempo.pace.max - tempo.pace.min).expect("milliseconds");
                tempo.pace.min + tempo.random.below(spread + 1) as u64
            };
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            match wal.step() {
                Step::Idle => break,
                // Others get their turn even on a disk that takes no time.
                Step::Written => tokio::task::yield_now().await,
                Step::Full(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

//! Killing or freezing the leader, and seeing what that costs.

use crate::ledger::Loss;
use crate::members::{Members, View};
use crate::observer::{CONTROLLERS, Observer, SCHEDULER, ms_since};
use crate::pages::{Fetched, Pages};
use crate::timeline::{Lease, Ms, Seen, Timeline, rate, timeline};
use crate::writers::{self, Writers};
use anyhow::{Context, Result, anyhow, bail, ensure};
use kontiki_client::resources::SERVICES;
use kontiki_client::{Client, HttpsConfig};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use xtask::cluster::{Cluster, server_process};
use xtask::netns;
use xtask::topology::Machine;

/// How the leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `SIGKILL`; started again afterwards.
    Kill,
    /// `SIGSTOP`; `SIGCONT` afterwards.
    Pause,
}

/// What one run showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The server that was lost.
    pub server: String,
    /// How.
    pub manner: Manner,
    /// When what happened.
    pub timeline: Timeline,
    /// Which of the two leases the server held.
    pub held: Vec<&'static str>,
    /// Acknowledged writes.
    pub writes: u64,
    /// Acknowledged writes that some server does not have, or that went back.
    pub lost_writes: u64,
    /// Which they are.
    pub losses: Vec<(String, Loss)>,
    /// Fetches of the page.
    pub fetches: u64,
    /// Failed ones: when, and why.
    pub failed_fetches: Vec<(Ms, String)>,
    /// From its start (or thaw) until the lost server had caught up.
    pub caught_up_ms: Ms,
}

impl Outcome {
    /// Whether nothing was lost and nothing failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost_writes == 0 && self.failed_fetches.is_empty()
    }
}

/// A run, or why it says nothing.
pub enum Run {
    /// It is over.
    Done(Box<Outcome>),
    /// Too little was going on before the loss to see its effect.
    Void {
        /// Acknowledged writes a second.
        writes: f64,
        /// Successful fetches a second.
        fetches: f64,
    },
}

const WRITES_FLOOR: f64 = 50.0;
const FETCHES_FLOOR: f64 = 20.0;
const WARM_UP: Duration = Duration::from_secs(2);
/// Over which the floors are looked at.
const WINDOW: Duration = Duration::from_secs(2);
/// Until everything has been taken over.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(60);
/// Watched after the last takeover.
const AFTERWARDS: Duration = Duration::from_secs(2);
const READ_PATIENCE: Duration = Duration::from_secs(30);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Runs once on a cluster that is up, with the application of `cargo xtask up`.
///
/// # Errors
/// If the cluster cannot be observed, or does not recover.
pub fn run(cluster: Cluster, manner: Manner) -> Result<Run> {
    let namespace = cluster.topology.namespace(&cluster.topology.client().name);
    // Everything happens on threads of the client's machine, whose sockets are there.
    netns::inside(&namespace, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(Scene::new(cluster, manner)?.play())
    })
}

/// What a run needs to know of the cluster.
struct Scene {
    cluster: Cluster,
    manner: Manner,
    servers: Vec<Machine>,
    base: HttpsConfig,
    members: Members,
    start: Instant,
    run: String,
}

/// The server to lose.
struct Victim {
    machine: Machine,
    member: u64,
    remaining: Vec<Machine>,
}

impl Scene {
    fn new(cluster: Cluster, manner: Manner) -> Result<Self> {
        let base = HttpsConfig::from_kubeconfig_file(&cluster.kubeconfig())
            .context("is the cluster up? `cargo xtask up` brings it up")?;
        let members = Members::new(&cluster.state().join("etcd"))?;
        let servers = cluster.topology.servers().cloned().collect();
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis();
        let run = format!("{unique:x}");
        Ok(Self {
            cluster,
            manner,
            servers,
            base,
            members,
            start: Instant::now(),
            run,
        })
    }

    async fn play(self) -> Result<Run> {
        let client = writers::client(&self.base, &self.servers)?;
        let pages = Pages::start(page_address(&client).await?, self.start);
        let writers = Writers::start(&self.run, &self.base, &self.servers, self.start)?;
        tokio::time::sleep(WARM_UP + WINDOW).await;
        let (to, from) = (ms_since(self.start), ms_since(self.start) - millis(WINDOW));
        let writes = rate(&writers.acknowledged(), from, to);
        let fetches = rate(&pages.fetched().good, from, to);
        if writes < WRITES_FLOOR || fetches < FETCHES_FLOOR {
            writers.stop().await;
            let _ = pages.stop();
            writers::remove(&client, &self.run).await?;
            return Ok(Run::Void { writes, fetches });
        }
        let outcome = self.lose(writers, pages).await;
        writers::remove(&client, &self.run).await?;
        Ok(Run::Done(Box::new(outcome?)))
    }

    async fn lose(&self, writers: Writers, pages: Pages) -> Result<Outcome> {
        let victim = self.leader().await?;
        let spared = writers::client(&self.base, &victim.remaining)?;
        let mut observer = Observer::start(&spared, self.start);
        self.leases_seen(&observer).await?;
        let process = server_process(&victim.machine);
        let (signal, undo) = match self.manner {
            Manner::Kill => (Signal::SIGKILL, None),
            Manner::Pause => (Signal::SIGSTOP, Some(Signal::SIGCONT)),
        };
        let thaw = Thaw {
            cluster: &self.cluster,
            process: process.clone(),
            signal: undo,
        };
        self.cluster.processes.signal(&process, signal)?;
        let lost = ms_since(self.start);
        observer.await_leader(&self.members, &victim.remaining, victim.member);
        let seen = self
            .until_taken_over(&observer, &writers, &victim, lost)
            .await;
        tokio::time::sleep(AFTERWARDS).await;
        let run = writers.run().to_owned();
        let written = writers.stop().await;
        let seen = Seen {
            acknowledged: written.acknowledged.clone(),
            ..seen
        };

        let mut losses = Vec::new();
        for server in &victim.remaining {
            self.compare(server, &run, &written.ledger, &mut losses)
                .await?;
        }
        let back = Instant::now();
        drop(thaw);
        if self.manner == Manner::Kill {
            self.cluster.start_server(&victim.machine)?;
        }
        self.until_caught_up(&victim).await?;
        let caught_up_ms = ms_since(back);
        self.compare(&victim.machine, &run, &written.ledger, &mut losses)
            .await?;
        let Fetched { good, failed } = pages.stop();
        // The same write may be missing at several servers: it is lost once.
        let mut worst = std::collections::BTreeMap::<&str, u64>::new();
        for (_, loss) in &losses {
            let held = worst.entry(&loss.name).or_default();
            *held = loss.writes().max(*held);
        }
        let held = [(SCHEDULER, seen.scheduler), (CONTROLLERS, seen.controllers)];
        Ok(Outcome {
            server: victim.machine.name,
            manner: self.manner,
            timeline: timeline(&seen),
            held: held
                .iter()
                .filter(|(_, lease)| *lease != Lease::NotHeld)
                .map(|(name, _)| *name)
                .collect(),
            writes: written.ledger.writes(),
            lost_writes: worst.values().sum::<u64>() + written.went_back,
            losses,
            fetches: u64::try_from(good.len() + failed.len())?,
            failed_fetches: failed,
            caught_up_ms,
        })
    }

    /// The server whose store leads, as it says itself.
    async fn leader(&self) -> Result<Victim> {
        let deadline = Instant::now() + READ_PATIENCE;
        loop {
            for server in &self.servers {
                if let Ok(View { member, leader, .. }) = self.members.view(server).await
                    && member == leader
                {
                    let remaining = self
                        .servers
                        .iter()
                        .filter(|other| *other != server)
                        .cloned()
                        .collect();
                    return Ok(Victim {
                        machine: server.clone(),
                        member,
                        remaining,
                    });
                }
            }
            ensure!(
                Instant::now() < deadline,
                "no server says that it leads the store; are they running?"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn leases_seen(&self, observer: &Observer) -> Result<()> {
        let deadline = Instant::now() + READ_PATIENCE;
        for lease in [SCHEDULER, CONTROLLERS] {
            while observer.holders().current(lease).is_none_or(str::is_empty) {
                ensure!(Instant::now() < deadline, "nobody holds the lease {lease}");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Watches until there is a leader, a write and every lease, or patience ends.
    async fn until_taken_over(
        &self,
        observer: &Observer,
        writers: &Writers,
        victim: &Victim,
        lost: Ms,
    ) -> Seen {
        let deadline = Instant::now() + TAKEOVER_PATIENCE;
        loop {
            let holders = observer.holders();
            let across = |lease| holders.across(lease, &victim.machine.name, lost);
            let seen = Seen {
                lost,
                led: observer.led(),
                acknowledged: Vec::new(),
                scheduler: across(SCHEDULER),
                controllers: across(CONTROLLERS),
            };
            let wrote = || {
                let led = seen.led.unwrap_or(f64::INFINITY);
                writers.acknowledged().last().is_some_and(|at| *at > led)
            };
            let orphaned = [seen.scheduler, seen.controllers].contains(&Lease::Orphaned);
            if (seen.led.is_some() && !orphaned && wrote()) || Instant::now() > deadline {
                return seen;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn compare(
        &self,
        server: &Machine,
        run: &str,
        ledger: &crate::ledger::Ledger,
        losses: &mut Vec<(String, Loss)>,
    ) -> Result<()> {
        let found = writers::read_back(&self.base, server, run, READ_PATIENCE).await?;
        losses.extend(
            ledger
                .losses(&found)
                .into_iter()
                .map(|loss| (server.name.clone(), loss)),
        );
        Ok(())
    }

    /// Until the lost server has applied what the others had when it came back.
    async fn until_caught_up(&self, victim: &Victim) -> Result<()> {
        let mut goal = 0;
        for server in &victim.remaining {
            goal = self.members.view(server).await?.revision.max(goal);
        }
        let deadline = Instant::now() + CATCH_UP_PATIENCE;
        loop {
            if let Ok(view) = self.members.view(&victim.machine).await
                && view.revision >= goal
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.cluster.processes.log(&server_process(&victim.machine));
                bail!(
                    "{} does not catch up; its log ends with\n{}",
                    victim.machine.name,
                    xtask::cluster::tail(&log, 20)
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Thaws a frozen process when dropped, so that no error leaves it frozen.
struct Thaw<'a> {
    cluster: &'a Cluster,
    process: String,
    signal: Option<Signal>,
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        if let Some(signal) = self.signal {
            // Not alive any more: then there is nothing to thaw.
            let _ = self.cluster.processes.signal(&self.process, signal);
        }
    }
}

/// Where the Service of the application is.
async fn page_address(client: &Client) -> Result<SocketAddr> {
    let service = client
        .namespaced(&SERVICES, "default")
        .get("web")
        .await
        .map_err(|status| anyhow!("the application's Service cannot be read: {status}"))?;
    let address = service.str_at(&["spec", "clusterIP"]).unwrap_or_default();
    Ok(SocketAddr::new(
        address
            .parse()
            .context("the Service web has no cluster IP")?,
        80,
    ))
}

fn millis(duration: Duration) -> Ms {
    duration.as_secs_f64() * 1_000.0
}

/// Runs until a run is not void, a few times.
///
/// # Errors
/// As [`run`], or if there is no cluster.
pub fn run_valid(
    cluster: impl Fn() -> Result<Cluster>,
    manner: Manner,
    attempts: usize,
) -> Result<Run> {
    let mut last = None;
    for _ in 0..attempts.max(1) {
        match run(cluster()?, manner)? {
            void @ Run::Void { .. } => last = Some(void),
            done @ Run::Done(_) => return Ok(done),
        }
    }
    Ok(last.expect("there was at least one attempt"))
}

/// A handle on a cluster that `cargo xtask up` made, by its name.
///
/// # Errors
/// If its state cannot be read.
pub fn existing(name: &str, binary: &std::path::Path) -> Result<Cluster> {
    ensure!(
        xtask::paths::state(name).join("kubeconfig").exists(),
        "there is no cluster {name}; `cargo xtask up` brings one up"
    );
    Cluster::new(xtask::topology::Topology::new(name, 3, 2), binary)
}
